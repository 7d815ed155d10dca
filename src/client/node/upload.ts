/** Brings packages to a node over its control connection: offers, sends what the node lacks, in pieces that it acknowledges. */
import {
  LeaseRefused,
  PackageInvalid,
  PackageTooLarge,
  type RfaasError,
  UsageError,
} from "../../base/errors.ts";
import { CHUNK_BYTES, type Package, piecesOf } from "../../package/contents/package.ts";
import type { ClientMessage, NodeMessage } from "../../protocol/messages.ts";
import type { StoredPackage } from "../../protocol/package-messages.ts";
import type { UploadProgress } from "../events/upload-progress.ts";
import { notify } from "../../base/notify.ts";
import { reasonOf, untilAborted } from "../../base/waiting.ts";

/** The connection that packages travel on. */
export interface PackageWay {
  /** Throws when the connection is over. */
  send(message: ClientMessage): void;
  nextId(): number;
  /** Keeps the process alive while somebody waits. */
  hold(): Disposable;
}

type Answer = Extract<
  NodeMessage,
  {
    t:
      | "needs-files"
      | "package-progress"
      | "package-stored"
      | "package-refused"
      | "packages"
      | "package-removed";
  }
>;

/** Bytes that may be on their way: other messages of the connection wait behind no more than these. */
const WINDOW_BYTES = 4 * CHUNK_BYTES;

export class PackageSender {
  readonly #way: PackageWay;
  readonly #asked = new Map<number, (answer: Answer | RfaasError) => void>();
  /** By hash: several leases at once send a package once. */
  readonly #uploads = new Map<string, Upload>();

  constructor(way: PackageWay) {
    this.#way = way;
  }

  /**
   * Brings a package to the node; resolves when the node has stored it.
   *
   * @throws {PackageTooLarge} the node does not take it
   * @throws {PackageInvalid} a file has changed since the package was built
   * @throws {LeaseRefused} the node cannot store it: its disk is full
   * @throws {NodeUnreachable} the connection ended
   */
  async send(made: Package, onProgress: Listener | undefined, signal?: AbortSignal): Promise<void> {
    let upload = this.#uploads.get(made.hash);
    if (!upload) {
      const listeners = new Set<Listener>();
      const tell = (progress: UploadProgress) =>
        listeners.forEach((listener) => notify(listener, progress));
      const stop = new AbortController();
      upload = { listeners, stop, waiting: 0, done: this.#upload(made, tell, stop.signal) };
      this.#uploads.set(made.hash, upload);
      const end = () => this.#forget(made.hash, upload!);
      upload.done.then(end, end);
    }
    if (onProgress) upload.listeners.add(onProgress);
    upload.waiting++;
    try {
      await untilAborted(upload.done, signal);
    } finally {
      if (onProgress) upload.listeners.delete(onProgress);
      if (--upload.waiting === 0 && signal?.aborted) {
        this.#forget(made.hash, upload);
        upload.stop.abort(reasonOf(signal));
      }
    }
  }

  /** What the node has. */
  async list(signal?: AbortSignal): Promise<StoredPackage[]> {
    const answer = await this.#ask((id) => ({ t: "ask-packages", id }), signal);
    return answer.t === "packages" ? answer.packages : [];
  }

  /** Removes a package from the node's cache. Throws {@link UsageError} when it is not there, or in use. */
  async remove(hash: string, signal?: AbortSignal): Promise<void> {
    await this.#ask((id) => ({ t: "remove-package", id, hash }), signal);
  }

  /** Whether the message was for us. */
  heard(message: NodeMessage): boolean {
    switch (message.t) {
      case "needs-files":
      case "package-progress":
      case "package-stored":
      case "package-refused":
      case "packages":
      case "package-removed":
        this.#asked.get(message.id)?.(message);
        return true;
      default:
        return false;
    }
  }

  /** The connection is over. */
  end(error: RfaasError): void {
    for (const answered of [...this.#asked.values()]) answered(error);
  }

  #forget(hash: string, upload: Upload): void {
    if (this.#uploads.get(hash) === upload) this.#uploads.delete(hash);
  }

  async #ask(question: (id: number) => ClientMessage, signal?: AbortSignal): Promise<Answer> {
    using _ = this.#way.hold();
    const id = this.#way.nextId();
    const answers = this.#listen(id);
    try {
      this.#way.send(question(id));
      return await untilAborted(answers.next(), signal);
    } finally {
      answers.close();
    }
  }

  async #upload(made: Package, tell: Listener, signal: AbortSignal): Promise<void> {
    using _ = this.#way.hold();
    const id = this.#way.nextId();
    const answers = this.#listen(id);
    const { hash, manifest, manifestBytes, contents } = made;
    let over = false;
    try {
      this.#way.send({ t: "offer-package", id, hash, manifest: manifestBytes });
      const first = await untilAborted(answers.next(), signal);
      over = first.t !== "needs-files";
      if (first.t !== "needs-files") return;
      const files = first.files.map((index) => {
        const file = manifest.files[index];
        if (!file)
          throw new PackageInvalid(
            "the node asks for files that the package has not; update the older side",
          );
        return file;
      });
      const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
      tell({ sentBytes: 0, totalBytes });
      let sentBytes = 0;
      let storedBytes = 0;
      const settle = async (): Promise<void> => {
        const answer = await untilAborted(answers.next(), signal);
        if (answer.t === "package-progress") storedBytes = answer.storedBytes;
        else if (answer.t === "package-stored") {
          over = true;
          storedBytes = totalBytes;
        }
        tell({ sentBytes: storedBytes, totalBytes });
      };
      for await (const bytes of joined(files, contents)) {
        while (sentBytes - storedBytes > WINDOW_BYTES - bytes.length && !over) await settle();
        if (over) break;
        signal.throwIfAborted();
        this.#way.send({ t: "package-chunk", id, bytes });
        sentBytes += bytes.length;
      }
      while (!over) await settle();
    } catch (error) {
      if (!over && !answers.ended) this.#way.send({ t: "drop-offer", id });
      throw error;
    } finally {
      answers.close();
    }
  }

  /** The answers to one question, in order; a refusal is thrown. */
  #listen(id: number): { next(): Promise<Answer>; close(): void; ended: boolean } {
    const queue: (Answer | RfaasError)[] = [];
    let arrived = Promise.withResolvers<void>();
    const asked = this.#asked;
    const listening = {
      ended: false,
      async next(): Promise<Answer> {
        while (queue.length === 0) await arrived.promise;
        const answer = queue.shift()!;
        if (!(answer instanceof Error) && answer.t !== "package-refused") return answer;
        listening.ended = true;
        throw answer instanceof Error ? answer : refusal(answer);
      },
      close: () => void asked.delete(id),
    };
    asked.set(id, (answer) => {
      queue.push(answer);
      arrived.resolve();
      arrived = Promise.withResolvers();
    });
    return listening;
  }
}

type Listener = (progress: UploadProgress) => void;

/** A package on its way. */
interface Upload {
  readonly done: Promise<void>;
  readonly listeners: Set<Listener>;
  /** Aborted when nobody waits for it any more. */
  readonly stop: AbortController;
  waiting: number;
}

/** The files' bytes in pieces of one size, so that many small files are few messages. */
async function* joined(
  files: readonly { path: string; bytes: number }[],
  contents: Package["contents"],
): AsyncGenerator<Uint8Array, void> {
  let piece = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  for (const { path, bytes } of files) {
    let length = 0;
    for await (const part of piecesOf(contents.get(path)!)) {
      length += part.length;
      for (let at = 0; at < part.length;) {
        const taken = Math.min(part.length - at, CHUNK_BYTES - filled);
        piece.set(part.subarray(at, at + taken), filled);
        filled += taken;
        at += taken;
        if (filled < CHUNK_BYTES) continue;
        yield piece;
        piece = new Uint8Array(CHUNK_BYTES);
        filled = 0;
      }
    }
    if (length !== bytes)
      throw new PackageInvalid(
        `${path} has ${length} bytes and had ${bytes} when the package was built; build it again`,
      );
  }
  if (filled > 0) yield piece.subarray(0, filled);
}

function refusal({ code, message }: Extract<Answer, { t: "package-refused" }>): RfaasError {
  if (code === "RFAAS_PACKAGE_INVALID") return new PackageInvalid(message);
  if (code === "RFAAS_PACKAGE_TOO_LARGE") return new PackageTooLarge(message);
  if (code === "RFAAS_PACKAGE_NOT_REMOVED") return new UsageError(message);
  return new LeaseRefused(code, message);
}
