/** What clients say of packages: offers, the bytes of uploads, and questions about the cache. */
import { PackageInvalid, RfaasError } from "../../base/errors.ts";
import type { ClientMessage, NodeMessage } from "../../protocol/messages.ts";
import { shortage } from "../../base/shortage.ts";
import { formatBytes } from "../../base/units.ts";
import { type Identity, OWNER } from "../admission/identity.ts";
import type { PackageStore, Upload } from "./store.ts";

export type PackageMessage = Extract<
  ClientMessage,
  { t: "offer-package" | "package-chunk" | "drop-offer" | "ask-packages" | "remove-package" }
>;

/** Whoever sends packages. */
export interface PackageClient {
  readonly connection: { send(message: NodeMessage): void };
  readonly identity: Identity;
}

interface Incoming {
  hash: string;
  startedNs: number;
  /** Undefined until the node has looked what it has of it. */
  upload: Upload | undefined;
  storedBytes: number;
  /** Bytes that have come and are not written yet. */
  waitingBytes: number;
  /** One order after another. */
  tail: Promise<void>;
}

/** What the node has of a client's at a time. */
interface Sender {
  uploads: Map<number, Incoming>;
  /** Uploads that the client has given up, or that were refused, and that are not removed yet. */
  leaving: number;
  /** One question after another. */
  asked: Promise<void>;
}

/** At a time, of one client; and so many that are being removed. */
const MAX_UPLOADS = 8;
/** A client waits for acknowledgements; one that does not must not fill the node's memory. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

export class PackageIntake {
  readonly #store: PackageStore;
  readonly #log: (level: "info" | "warn", message: string) => void;
  readonly #senders = new WeakMap<PackageClient, Sender>();
  /** By user, the packages that he has sent or used since the node was started. */
  readonly #known = new Map<string, Set<string>>();

  constructor(store: PackageStore, log: (level: "info" | "warn", message: string) => void) {
    this.#store = store;
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
        return this.#answer(client, message.id, async () => ({
          t: "packages",
          id: message.id,
          packages: (await this.#store.list()).filter(({ hash }) => this.#mayKnow(client, hash)),
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
    for (const id of this.#of(client).uploads.keys()) this.#drop(client, id);
  }

  #offered(client: PackageClient, id: number, hash: string, manifest: Uint8Array): void {
    const { uploads, leaving } = this.#of(client);
    if (uploads.has(id) || uploads.size >= MAX_UPLOADS || leaving >= MAX_UPLOADS) {
      const message = `a client may send ${MAX_UPLOADS} packages at a time; wait for the others`;
      return this.#refuse(client, id, new PackageInvalid(message));
    }
    const incoming: Incoming = {
      ...{ hash, startedNs: Bun.nanoseconds(), upload: undefined },
      ...{ storedBytes: 0, waitingBytes: 0, tail: Promise.resolve() },
    };
    uploads.set(id, incoming);
    this.#order(client, id, incoming, async () => {
      incoming.upload = await this.#store.receive(hash, manifest);
      const { missing } = incoming.upload;
      return missing.length > 0
        ? { t: "needs-files", id, files: [...missing] }
        : this.#finish(client, id, incoming);
    });
  }

  #chunk(client: PackageClient, id: number, bytes: Uint8Array): void {
    const incoming = this.#of(client).uploads.get(id);
    // What was on its way when it was refused.
    if (!incoming) return;
    incoming.waitingBytes += bytes.length;
    if (incoming.waitingBytes > MAX_WAITING_BYTES) {
      const message = "the package comes faster than it is written; wait for acknowledgements";
      return this.#refuse(client, id, new PackageInvalid(message));
    }
    const { length } = bytes;
    this.#order(client, id, incoming, async () => {
      const { storedBytes, complete } = await incoming.upload!.write(bytes);
      incoming.waitingBytes -= length;
      incoming.storedBytes = storedBytes;
      return complete
        ? this.#finish(client, id, incoming)
        : { t: "package-progress", id, storedBytes };
    });
  }

  /** Does it when what came before is done, and sends what comes of it, unless the upload is over by then. */
  #order(
    client: PackageClient,
    id: number,
    incoming: Incoming,
    make: () => Promise<NodeMessage | undefined>,
  ): void {
    const isOver = (): boolean => this.#of(client).uploads.get(id) !== incoming;
    incoming.tail = incoming.tail.then(async () => {
      if (isOver()) return;
      try {
        const answer = await make();
        if (answer && !isOver()) client.connection.send(answer);
      } catch (error) {
        if (!isOver()) this.#refuse(client, id, error);
      }
    });
  }

  async #finish(client: PackageClient, id: number, incoming: Incoming): Promise<undefined> {
    const { hash, startedNs, storedBytes } = incoming;
    const upload = incoming.upload!;
    // Nobody wants it any more.
    if (this.#of(client).uploads.get(id) !== incoming) return;
    await upload.finish();
    incoming.upload = undefined;
    if (this.#of(client).uploads.get(id) === incoming) this.#of(client).uploads.delete(id);
    this.used(client, hash);
    const ms = ((Bun.nanoseconds() - startedNs) / 1e6).toFixed(1);
    this.#log(
      "info",
      `package ${upload.name} (${hash.slice(0, 12)}) stored: ${formatBytes(storedBytes)} received in ${ms} ms`,
    );
    client.connection.send({ t: "package-stored", id });
  }

  async #remove(client: PackageClient, id: number, hash: string): Promise<NodeMessage> {
    const removed = this.#mayKnow(client, hash) ? await this.#store.remove(hash) : "unknown";
    if (removed === "removed") return { t: "package-removed", id };
    const message =
      removed === "unknown"
        ? `the node has no package ${hash}; see: rfaas package ls`
        : `a lease uses package ${hash}; release it first`;
    return { t: "package-refused", id, code: "RFAAS_PACKAGE_NOT_REMOVED", message };
  }

  #answer(client: PackageClient, id: number, make: () => Promise<NodeMessage>): void {
    const sender = this.#of(client);
    sender.asked = sender.asked.then(async () => {
      try {
        client.connection.send(await make());
      } catch (error) {
        this.#refuse(client, id, error);
      }
    });
  }

  #refuse(client: PackageClient, id: number, error: unknown): void {
    this.#drop(client, id);
    const { code, message } = explain(error);
    this.#log("warn", `a package was refused: ${message}`);
    client.connection.send({ t: "package-refused", id, code, message });
  }

  #drop(client: PackageClient, id: number): void {
    const sender = this.#of(client);
    const incoming = sender.uploads.get(id);
    sender.uploads.delete(id);
    if (!incoming) return;
    sender.leaving++;
    // An order that is under way ends first: what is removed must not be written again.
    void incoming.tail
      .then(() => incoming.upload?.abandon())
      .catch(() => {})
      .finally(() => sender.leaving--);
  }

  #of(client: PackageClient): Sender {
    let sender = this.#senders.get(client);
    if (!sender) {
      sender = { uploads: new Map(), leaving: 0, asked: Promise.resolve() };
      this.#senders.set(client, sender);
    }
    return sender;
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
