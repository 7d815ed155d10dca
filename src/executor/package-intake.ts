/** What clients say of packages: offers, the bytes of uploads, and questions about the cache. */
import { PackageInvalid, RfaasError } from "../errors.ts";
import type { ClientMessage, NodeMessage } from "../protocol/messages.ts";
import { shortage } from "../shortage.ts";
import { formatBytes } from "../units.ts";
import { type Identity, OWNER } from "./identity.ts";
import type { IncomingPackage } from "./incoming-package.ts";
import type { PackageCache } from "./package-cache.ts";

export type PackageMessage = Extract<
  ClientMessage,
  { t: "offer-package" | "package-chunk" | "drop-offer" | "ask-packages" | "remove-package" }
>;

/** Whoever sends packages. */
export interface PackageClient {
  readonly connection: { send(message: NodeMessage): void };
  readonly identity: Identity;
}

interface Upload {
  incoming: IncomingPackage;
  hash: string;
  startedNs: number;
  /** Bytes that have come and are not written yet. */
  waitingBytes: number;
  /** One write after another. */
  tail: Promise<void>;
}

/** At a time, of one client. */
const MAX_UPLOADS = 8;
/** A client waits for acknowledgements; one that does not must not fill the node's memory. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

export class PackageIntake {
  readonly #cache: PackageCache;
  readonly #log: (level: "info" | "warn", message: string) => void;
  readonly #uploads = new WeakMap<PackageClient, Map<number, Upload>>();
  /** By user, the packages that he has sent or used since the node was started. */
  readonly #known = new Map<string, Set<string>>();

  constructor(cache: PackageCache, log: (level: "info" | "warn", message: string) => void) {
    this.#cache = cache;
    this.#log = log;
  }

  heard(client: PackageClient, message: PackageMessage): void {
    switch (message.t) {
      case "offer-package":
        return this.#offered(client, message.id, message.hash, message.manifest);
      case "package-chunk":
        return this.#chunk(client, message.id, message.bytes);
      case "drop-offer":
        return this.#drop(client, message.id);
      case "ask-packages":
        return this.#answer(client, message.id, () => ({
          t: "packages",
          id: message.id,
          packages: this.#cache.list().filter(({ hash }) => this.#mayKnow(client, hash)),
        }));
      case "remove-package":
        return this.#answer(client, message.id, () =>
          this.#remove(client, message.id, message.hash),
        );
    }
  }

  /** A client has sent a package, or has a lease of it: from then on its user may list and remove it. */
  used(client: PackageClient, hash: string): void {
    const { user } = client.identity;
    const hashes = this.#known.get(user) ?? new Set();
    this.#known.set(user, hashes.add(hash));
  }

  /** The node's own user knows all packages; nobody else learns what others have. */
  #mayKnow(client: PackageClient, hash: string): boolean {
    return client.identity === OWNER || (this.#known.get(client.identity.user)?.has(hash) ?? false);
  }

  /** Its half uploads go with it. */
  gone(client: PackageClient): void {
    for (const id of this.#of(client).keys()) this.#drop(client, id);
  }

  #offered(client: PackageClient, id: number, hash: string, manifest: Uint8Array): void {
    const uploads = this.#of(client);
    this.#answer(client, id, () => {
      if (uploads.has(id) || uploads.size >= MAX_UPLOADS)
        throw new PackageInvalid(
          `a client may send ${MAX_UPLOADS} packages at a time; wait for the others`,
        );
      const incoming = this.#cache.receive(hash, manifest);
      const upload: Upload = {
        incoming,
        hash,
        startedNs: Bun.nanoseconds(),
        waitingBytes: 0,
        tail: Promise.resolve(),
      };
      uploads.set(id, upload);
      if (!incoming.complete) return { t: "needs-files", id, files: [...incoming.missing] };
      return this.#finish(client, id, upload);
    });
  }

  #chunk(client: PackageClient, id: number, bytes: Uint8Array): void {
    const upload = this.#of(client).get(id);
    // What was on its way when it was refused.
    if (!upload) return;
    const { incoming } = upload;
    upload.waitingBytes += bytes.length;
    if (upload.waitingBytes > MAX_WAITING_BYTES) {
      const message = "the package comes faster than it is written; wait for acknowledgements";
      return this.#refuse(client, id, new PackageInvalid(message));
    }
    upload.tail = upload.tail.then(async () => {
      if (this.#of(client).get(id) !== upload) return;
      try {
        await incoming.write(bytes);
        upload.waitingBytes -= bytes.length;
        if (this.#of(client).get(id) !== upload) return;
        client.connection.send(
          incoming.complete
            ? this.#finish(client, id, upload)
            : { t: "package-progress", id, storedBytes: incoming.storedBytes },
        );
      } catch (error) {
        this.#refuse(client, id, error);
      }
    });
  }

  #finish(client: PackageClient, id: number, { incoming, hash, startedNs }: Upload): NodeMessage {
    incoming.finish();
    this.#of(client).delete(id);
    this.used(client, hash);
    const ms = ((Bun.nanoseconds() - startedNs) / 1e6).toFixed(1);
    this.#log(
      "info",
      `package ${incoming.manifest.name} (${hash.slice(0, 12)}) stored: ${formatBytes(incoming.storedBytes)} received in ${ms} ms`,
    );
    return { t: "package-stored", id };
  }

  #remove(client: PackageClient, id: number, hash: string): NodeMessage {
    const removed = this.#mayKnow(client, hash) ? this.#cache.remove(hash) : "unknown";
    if (removed === "removed") return { t: "package-removed", id };
    const message =
      removed === "unknown"
        ? `the node has no package ${hash}; see: rfaas package ls`
        : `a lease uses package ${hash}; release it first`;
    return { t: "package-refused", id, code: "RFAAS_PACKAGE_NOT_REMOVED", message };
  }

  #answer(client: PackageClient, id: number, make: () => NodeMessage): void {
    let answer: NodeMessage;
    try {
      answer = make();
    } catch (error) {
      return this.#refuse(client, id, error);
    }
    client.connection.send(answer);
  }

  #refuse(client: PackageClient, id: number, error: unknown): void {
    this.#drop(client, id);
    const { code, message } = explain(error);
    this.#log("warn", `a package was refused: ${message}`);
    client.connection.send({ t: "package-refused", id, code, message });
  }

  #drop(client: PackageClient, id: number): void {
    const uploads = this.#of(client);
    const upload = uploads.get(id);
    uploads.delete(id);
    if (!upload) return;
    // A write that is under way ends first: what is removed must not be written again.
    void upload.tail.then(() => upload.incoming.abandon());
  }

  #of(client: PackageClient): Map<number, Upload> {
    let uploads = this.#uploads.get(client);
    if (!uploads) this.#uploads.set(client, (uploads = new Map()));
    return uploads;
  }
}

function explain(error: unknown): { code: string; message: string } {
  if (error instanceof RfaasError) return { code: String(error.code), message: error.message };
  const { code, message } = error as NodeJS.ErrnoException;
  const why = shortage(error, "the node");
  if (why !== undefined && code !== "ENOSPC" && code !== "EDQUOT")
    return {
      code: "RFAAS_PACKAGE_CACHE_FAILED",
      message: `the node cannot write its package cache: ${why}, or choose another folder with rfaas serve --cache DIR`,
    };
  if (why !== undefined)
    return {
      code: "RFAAS_PACKAGE_CACHE_FULL",
      message: `the disk of the node's package cache is full (${code}); free some of it, or choose another one with rfaas serve --cache DIR`,
    };
  return {
    code: "RFAAS_PACKAGE_CACHE_FAILED",
    message: `the node cannot write its package cache (${message}); check the folder, or choose another one with rfaas serve --cache DIR`,
  };
}
