/**
 * The shared files of a state directory, as etcd has them. What another manager has changed comes to the directory; what has changed in the
 * directory, by this manager or by a command beside it, goes to etcd, on the condition that nothing else has changed it meanwhile.
 */
import { gunzipSync, gzipSync } from "node:zlib";
import { isShared, listShared, merged, readShared, writeShared } from "../shared-files.ts";
import type { Etcd, KeyValue } from "./client.ts";

/** What directory and etcd had alike last. */
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
  readonly #known = new Map<string, Known>();
  readonly #told = new Set<string>();
  #after = -1;
  #running: Promise<void> | undefined;

  constructor(etcd: Etcd, prefix: string, stateDir: string, warn: (message: string) => void) {
    this.#etcd = etcd;
    this.#prefix = prefix;
    this.#stateDir = stateDir;
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
    const before = this.#known.get(name) ?? UNKNOWN;
    if (!isShared(name) || before.revision >= modRevision) return;
    let text = gunzipSync(value, { maxOutputLength: MAX_UNPACKED_BYTES }).toString();
    const theirs = text;
    const stamp = listShared(this.#stateDir).get(name);
    const own = stamp === undefined ? undefined : readShared(this.#stateDir, name);
    if (own !== undefined && own !== before.text) text = merged(own, theirs);
    if (text !== own) writeShared(this.#stateDir, name, text);
    // What was merged differs from what etcd has: it goes there next.
    this.#known.set(name, {
      text: theirs,
      stamp: text === theirs ? (listShared(this.#stateDir).get(name) ?? "") : "",
      revision: modRevision,
    });
  }

  /** False where another manager has changed one of them meanwhile. */
  async #push(): Promise<boolean> {
    let all = true;
    for (const [name, stamp] of listShared(this.#stateDir)) {
      const before = this.#known.get(name) ?? UNKNOWN;
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
      if (revision === undefined) all = false;
      else this.#known.set(name, { text, stamp, revision });
    }
    return all;
  }

  #tell(name: string, message: string): void {
    if (this.#told.has(name)) return;
    this.#told.add(name);
    this.#warn(message);
  }
}
