/**
 * The shared files of a state directory, as etcd has them. What another manager has changed comes to the directory; what has changed in the
 * directory, by this manager or by a command beside it, goes to etcd, on the condition that nothing else has changed it meanwhile.
 */
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { lockedForChange } from "../../state/records.ts";
import { isShared, isTable, listShared, merged, readShared, writeShared } from "../shared-files.ts";
import { CommonTexts } from "./common-texts.ts";
import type { Etcd, KeyValue } from "./client.ts";

/** What this manager knows them to have had alike. */
interface Known {
  text: string | undefined;
  stamp: string;
  /** In etcd; 0 where it is not there. */
  revision: number;
}

const UNKNOWN: Known = { text: undefined, stamp: "", revision: 0 };
/** Of one file; etcd takes requests of 1.5 MiB. */
const MAX_FILE_BYTES = 2 ** 20;
const MAX_UNPACKED_BYTES = 2 ** 26;
/** Another manager may change a file each time that it is pushed. */
const MAX_ROUNDS = 5;

export class FileMirror {
  readonly #etcd: Etcd;
  readonly #prefix: string;
  readonly #stateDir: string;
  readonly #warn: (message: string) => void;
  readonly #common: CommonTexts;
  readonly #known = new Map<string, Known>();
  readonly #told = new Set<string>();
  #after = -1;
  #running: Promise<void> | undefined;

  constructor(etcd: Etcd, prefix: string, stateDir: string, warn: (message: string) => void) {
    this.#etcd = etcd;
    this.#prefix = prefix;
    this.#stateDir = stateDir;
    this.#common = new CommonTexts(stateDir);
    this.#warn = warn;
  }

  /** Resolves once both have the same, as of now. Rejects where etcd, or the directory, cannot be used. */
  async sync(): Promise<void> {
    // One that runs may have read a file before it has changed.
    await this.#running?.catch(() => {});
    if (!this.#running)
      this.#running = this.#rounds().finally(() => {
        this.#running = undefined;
      });
    await this.#running;
  }

  async #rounds(): Promise<void> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      await this.#pull();
      if (await this.#push()) return;
    }
    throw new Error("the shared files change faster than they can be kept");
  }

  async #pull(): Promise<void> {
    const found = await this.#etcd.range(this.#prefix, {
      prefix: true,
      ...(this.#after < 0 ? {} : { after: this.#after }),
    });
    for (const one of found.keys) this.#take(one);
    this.#after = found.revision;
  }

  #take({ key, value, modRevision }: KeyValue): void {
    const name = key.slice(this.#prefix.length);
    if (!isShared(name) || this.#knownOf(name).revision >= modRevision) return;
    const theirs = gunzipSync(value, { maxOutputLength: MAX_UNPACKED_BYTES }).toString();
    // A command may be about to change it.
    using _ = isTable(name) ? lockedForChange(join(this.#stateDir, name)) : undefined;
    const isSame = this.#bring(name, theirs);
    // What was merged differs from what etcd has: it goes there next.
    const stamp = isSame ? (listShared(this.#stateDir).get(name) ?? "") : "";
    this.#known.set(name, { text: theirs, stamp, revision: modRevision });
  }

  /** Changes the directory's file as others have changed it. Returns whether it is the same as theirs then. */
  #bring(name: string, theirs: string): boolean {
    const isThere = listShared(this.#stateDir).has(name);
    const own = isThere ? readShared(this.#stateDir, name) : undefined;
    const common = this.#common.of(name);
    const before = common.find((text) => text === own) ?? common[0];
    const text = own === undefined ? theirs : merged(before, own, theirs);
    if (text !== own) {
      if (before !== undefined) this.#common.keep(name, [before, theirs]);
      writeShared(this.#stateDir, name, text);
    }
    if (common.length !== 1 || common[0] !== theirs) this.#common.keep(name, [theirs]);
    return text === theirs;
  }

  /** False where another manager has changed one of them meanwhile. */
  async #push(): Promise<boolean> {
    let all = true;
    for (const [name, stamp] of listShared(this.#stateDir)) {
      const before = this.#knownOf(name);
      if (stamp === before.stamp) continue;
      const text = readShared(this.#stateDir, name);
      if (text === before.text) {
        this.#known.set(name, { ...before, stamp });
        continue;
      }
      const value = gzipSync(text);
      if (value.length > MAX_FILE_BYTES) {
        this.#tell(name, `${name} is too large for etcd: other managers do not have it`);
        continue;
      }
      const key = this.#prefix + name;
      const revision = await this.#etcd.transact(
        [{ key, modRevision: before.revision }],
        [{ put: key, value }],
      );
      if (revision === undefined) {
        all = false;
        continue;
      }
      this.#known.set(name, { text, stamp, revision });
      this.#common.keep(name, [text]);
    }
    return all;
  }

  #knownOf(name: string): Known {
    return this.#known.get(name) ?? UNKNOWN;
  }

  #tell(name: string, message: string): void {
    if (this.#told.has(name)) return;
    this.#told.add(name);
    this.#warn(message);
  }
}
