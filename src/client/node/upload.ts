/** Brings packages to a node over its control connection: offers, sends what the node lacks, in pieces that it acknowledges. */
import {
  LeaseRefused,
  PackageInvalid,
  PackageTooLarge,
  type RfaasError,
  UsageError,
} from "../../base/errors.ts";
import { CHUNK_BYTES, type Package, piecesOf } from "../../package/contents/package.ts";
import type { Requests } from "../../control/requests.ts";
import type { MessageOf } from "../../protocol/declare.ts";
import type { Failed } from "../../protocol/failed.ts";
import {
  type DropOffer,
  ListPackages,
  OfferPackage,
  PackageChunk,
  RemovePackage,
  type StoredPackage,
} from "../../protocol/package-messages.ts";
import type { UploadProgress } from "../events/upload-progress.ts";
import { notify } from "../../base/notify.ts";
import { reasonOf, untilAborted } from "../../base/waiting.ts";

/** Most bytes in flight: other messages of the connection wait behind no more than these. */
const WINDOW_BYTES = 4 * CHUNK_BYTES;

export class PackageSender {
  readonly #requests: Requests;
  readonly #tell: (notice: MessageOf<typeof DropOffer>) => void;
  readonly #timeoutMs: number;
  /** By hash, so that simultaneous leases of one package send it once. */
  readonly #uploads = new Map<string, Upload>();
  #nextUpload = 1;

  /** `timeoutMs`: how long the node may take to list or remove packages. */
  constructor(
    requests: Requests,
    tell: (notice: MessageOf<typeof DropOffer>) => void,
    timeoutMs: number,
  ) {
    this.#requests = requests;
    this.#tell = tell;
    this.#timeoutMs = timeoutMs;
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
    return (await this.#requests.ask(ListPackages, {}, this.#asked(signal))).packages;
  }

  /** Removes a package from the node's cache. Throws {@link UsageError} when it is not there, or in use. */
  async remove(hash: string, signal?: AbortSignal): Promise<void> {
    await this.#requests.ask(RemovePackage, { hash }, this.#asked(signal));
  }

  #asked(signal: AbortSignal | undefined) {
    return { signal, timeoutMs: this.#timeoutMs, failure: refusal };
  }

  #forget(hash: string, upload: Upload): void {
    if (this.#uploads.get(hash) === upload) this.#uploads.delete(hash);
  }

  async #upload(made: Package, tell: Listener, signal: AbortSignal): Promise<void> {
    using _ = this.#requests.hold();
    const upload = this.#nextUpload++;
    const { hash, manifest, manifestBytes, contents } = made;
    const options = { signal, failure: refusal };
    let complete = false;
    try {
      const offer = { upload, hash, manifest: manifestBytes };
      const { files: missing, stored } = await this.#requests.ask(OfferPackage, offer, options);
      if (stored) return;
      const files = missing.map((index) => {
        const file = manifest.files[index];
        if (!file)
          throw new PackageInvalid(
            "the node asks for files that the package does not have; update the older side",
          );
        return file;
      });
      const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
      tell({ sentBytes: 0, totalBytes });
      const inFlight: { bytes: number; acknowledged: Promise<void> }[] = [];
      let unacknowledgedBytes = 0;
      const settle = async (): Promise<void> => {
        const { bytes, acknowledged } = inFlight.shift()!;
        await acknowledged;
        unacknowledgedBytes -= bytes;
      };
      const send = async (bytes: Uint8Array): Promise<void> => {
        const chunk = { upload, bytes };
        const { storedBytes, stored } = await this.#requests.ask(PackageChunk, chunk, options);
        complete = stored;
        tell({ sentBytes: storedBytes, totalBytes });
      };
      for await (const bytes of joined(files, contents)) {
        while (unacknowledgedBytes > WINDOW_BYTES - bytes.length) await settle();
        signal.throwIfAborted();
        const acknowledged = send(bytes);
        // `settle` awaits the pieces in order and throws the first failure; later ones are ignored.
        acknowledged.catch(() => {});
        inFlight.push({ bytes: bytes.length, acknowledged });
        unacknowledgedBytes += bytes.length;
      }
      while (inFlight.length > 0) await settle();
      if (!complete)
        throw new PackageInvalid(
          "the node has all of the package but has not stored it; update the older side",
        );
    } catch (error) {
      this.#tell({ t: "drop-offer", upload });
      throw error;
    }
  }
}

type Listener = (progress: UploadProgress) => void;

/** A package in flight to the node. */
interface Upload {
  readonly done: Promise<void>;
  readonly listeners: Set<Listener>;
  /** Aborted when no lease waits for the upload any more. */
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

function refusal({ code, message }: Failed): RfaasError {
  if (code === "RFAAS_PACKAGE_INVALID") return new PackageInvalid(message);
  if (code === "RFAAS_PACKAGE_TOO_LARGE") return new PackageTooLarge(message);
  if (code === "RFAAS_PACKAGE_NOT_REMOVED") return new UsageError(message);
  return new LeaseRefused(code, message);
}
