/** An upload in progress: writes the missing files as their bytes come, and checks the hash of each at its end. */
import { type Hash, createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PackageInvalid } from "../../base/errors.ts";
import type { Manifest, PackageFile } from "../../package/contents/manifest.ts";
import { hasContent, removeTree, sealFolder, sealFolders } from "./sealing.ts";

/** What the cache does for an upload. */
export interface IncomingEvents {
  /** Bytes have come, and are to be written. A failure refuses them. */
  coming(bytes: number): void;
  /** Called once, when all is here or nothing more will come. */
  over(done: boolean): void;
}

/** An equal file of the cache. */
export interface EqualFile {
  path: string;
  /** Another user has sent it: its bytes are read before it is taken. */
  foreign: boolean;
}

export class IncomingPackage {
  readonly folder: string;
  readonly manifest: Manifest;
  /** Indices of the files whose bytes must be sent, in this order. */
  readonly missing: number[] = [];
  /** Bytes that have come and were written. */
  storedBytes = 0;
  /** Files that the cache had. */
  readonly linked: PackageFile[] = [];
  readonly #manifestBytes: Uint8Array;
  readonly #sender: string;
  readonly #events: IncomingEvents;
  /** Files that are equal to one that is on its way. */
  readonly #copies = new Map<number, PackageFile[]>();
  /** Of {@link missing}. */
  #next = 0;
  #file: { handle: FileHandle; hash: Hash; left: number } | undefined;
  #over = false;

  /** `sender` names who sends it. */
  constructor(
    folder: string,
    manifest: { read: Manifest; bytes: Uint8Array },
    sender: string,
    events: IncomingEvents,
  ) {
    this.folder = folder;
    this.manifest = manifest.read;
    this.#manifestBytes = manifest.bytes;
    this.#sender = sender;
    this.#events = events;
  }

  /** Takes over the files that the cache has; `source` finds an equal file. A failure ends the upload. Other work has its turn meanwhile. */
  async begin(source: (file: PackageFile) => EqualFile | undefined): Promise<void> {
    try {
      await this.#takeUp(source);
    } catch (error) {
      this.abandon();
      throw error;
    }
  }

  /** Whether everything is here. */
  get complete(): boolean {
    return this.#next === this.missing.length;
  }

  /**
   * Writes the next bytes, one call after another.
   *
   * @throws {PackageInvalid} a file does not have the hash that the manifest says, or there are too many bytes
   * @throws {PackageTooLarge} there is no room for them
   */
  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#over) this.#events.coming(bytes.length);
    for (let at = 0; at < bytes.length;) {
      if (this.#over) return;
      if (this.complete)
        throw new PackageInvalid("more bytes came than the package has; build and send it again");
      const described = this.#nextFile;
      const file = (this.#file ??= {
        handle: await open(this.#place(described), "wx", modeOf(described)),
        hash: createHash("sha256"),
        left: described.bytes,
      });
      const part = bytes.subarray(at, at + file.left);
      await file.handle.writeFile(part);
      file.hash.update(part);
      file.left -= part.length;
      at += part.length;
      this.storedBytes += part.length;
      if (file.left === 0) await this.#endFile(file.handle, file.hash);
    }
  }

  /** All of it is here: it goes into the cache. When that fails it may be abandoned. */
  finish(): void {
    writeSealed(join(this.folder, "manifest"), this.#manifestBytes, 0o444);
    writeSealed(join(this.folder, "sender"), this.#sender, 0o444);
    sealFolders(join(this.folder, "root"));
    this.#events.over(true);
    this.#over = true;
  }

  /** Abandons the upload, and removes what has come of it. */
  abandon(): void {
    if (this.#over) return;
    this.#over = true;
    void this.#file?.handle.close().catch(() => {});
    removeTree(this.folder);
    this.#events.over(false);
  }

  /** Moves the whole package to `place`; a package that is there already is equal, and may stay. */
  moveTo(place: string): void {
    try {
      renameSync(this.folder, place);
      sealFolder(place);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
      removeTree(this.folder);
    }
  }

  get #nextFile(): PackageFile {
    return this.manifest.files[this.missing[this.#next]!]!;
  }

  async #takeUp(source: (file: PackageFile) => EqualFile | undefined): Promise<void> {
    mkdirSync(join(this.folder, "root"), { recursive: true, mode: 0o700 });
    const folders = new Set<string>();
    const coming = new Map<string, number>();
    for (const [index, file] of this.manifest.files.entries()) {
      if (index % FILES_PER_TURN === FILES_PER_TURN - 1) await nextTurn();
      const place = this.#place(file);
      const folder = dirname(place);
      if (!folders.has(folder)) mkdirSync(folder, { recursive: true, mode: 0o700 });
      folders.add(folder);
      if (file.bytes === 0) {
        if (file.sha256 !== EMPTY_SHA256) throw wrongHash(file);
        writeSealed(place, "", modeOf(file));
        continue;
      }
      if (await this.#linked(source(file), file, place)) continue;
      const key = `${file.sha256} ${file.executable} ${file.bytes}`;
      const first = coming.get(key);
      if (first === undefined) {
        coming.set(key, index);
        this.missing.push(index);
      } else this.#copies.set(first, [...(this.#copies.get(first) ?? []), file]);
    }
  }

  /** Takes an equal file of the cache, if it is one indeed: a function may have changed what its user has sent. */
  async #linked(from: EqualFile | undefined, file: PackageFile, place: string): Promise<boolean> {
    if (!from || !shared(from.path, place, modeOf(file))) return false;
    if (from.foreign && !(await hasContent(place, file.bytes, file.sha256))) {
      rmSync(place, { force: true });
      return false;
    }
    this.linked.push(file);
    return true;
  }

  async #endFile(handle: FileHandle, hash: Hash): Promise<void> {
    this.#file = undefined;
    const described = this.#nextFile;
    try {
      await handle.chmod(modeOf(described));
    } finally {
      await handle.close();
    }
    if (hash.digest("hex") !== described.sha256) throw wrongHash(described);
    for (const copy of this.#copies.get(this.missing[this.#next]!) ?? [])
      if (!shared(this.#place(described), this.#place(copy), modeOf(copy)))
        throw new Error(`${copy.path} cannot be made`);
    this.#next++;
  }

  #place({ path }: PackageFile): string {
    return join(this.folder, "root", path);
  }
}

/** In a few milliseconds. */
const FILES_PER_TURN = 100;

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const EMPTY_SHA256 = createHash("sha256").digest("hex");

/** Not to be written by mistake: other packages may share the file. */
const modeOf = ({ executable }: PackageFile): number => (executable ? 0o555 : 0o444);

/** Whether the failure is not the file's: another source for it would fail, too. */
const EXHAUSTED = new Set(["ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM", "EROFS"]);

/** Gives a file another place; a copy where the file system has no links. Another node may have removed it a moment ago. */
function shared(from: string, to: string, mode: number): boolean {
  for (const give of [linkSync, copyFileSync]) {
    try {
      give(from, to);
      if (give === copyFileSync) chmodSync(to, mode);
      return true;
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return false;
      if (EXHAUSTED.has(code)) throw error;
    }
  }
  return false;
}

function writeSealed(path: string, content: string | Uint8Array, mode: number): void {
  writeFileSync(path, content, { mode });
  chmodSync(path, mode);
}

function wrongHash({ path, sha256 }: PackageFile): PackageInvalid {
  return new PackageInvalid(
    `the bytes of ${path} do not have the hash that its package says (${sha256}); it was changed while it was sent, or damaged: send it again`,
  );
}
