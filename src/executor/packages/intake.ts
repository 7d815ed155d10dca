/** What clients say of packages: offers, the bytes of uploads, and questions about the cache. */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import { PackageInvalid, RfaasError } from "../../base/errors.ts";
import { type Handlers, RequestRefused } from "../../control/requests.ts";
import type { ReplyOf } from "../../protocol/declare.ts";
import type {
  OfferPackage,
  PackageChunk,
  packageMessages,
} from "../../protocol/package-messages.ts";
import { formatBytes } from "../../base/units.ts";
import { type Identity, OWNER } from "../admission/identity.ts";
import { explain } from "./refusals.ts";
import { OWN_USER, type PackageUser } from "./space.ts";
import type { PackageStore, Upload } from "./store.ts";

/** A client that sends packages. */
export interface PackageClient {
  readonly identity: Identity;
}

interface Incoming {
  hash: string;
  startedNs: number;
  /** Undefined until the node has looked which of its files it has. */
  upload: Upload | undefined;
  storedBytes: number;
  /** Bytes that have come and are not written yet. */
  waitingBytes: number;
  /** One order after another, and how many there are. */
  tail: Promise<void>;
  orders: number;
  /** Runs while the node waits for bytes. */
  silent: Timer | undefined;
}

/** A client's uploads in progress, and its questions. */
interface Sender {
  uploads: Map<number, Incoming>;
  /** Uploads that the client has withdrawn, or that were refused, and that are not removed yet. */
  leaving: number;
  /** One question after another. */
  asked: Promise<void>;
}

/** At a time, of one client; and so many that are being removed. */
const MAX_UPLOADS = 8;
/** At a time, of all clients of one user that is not the node's own. */
const MAX_UPLOADS_OF_USER = 64;
/** How long a client may send none of the bytes that the node waits for. */
const SILENCE_LIMIT_MS = 60_000;
/** A client waits for acknowledgements; one that does not must not fill the node's memory. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

export class PackageIntake {
  readonly #store: PackageStore;
  readonly #log: (level: "info" | "warn", message: string) => void;
  readonly #senders = new WeakMap<PackageClient, Sender>();
  /** By user, the packages that he has sent or used since the node was started. */
  readonly #known = new Map<string, Set<string>>();

  /** By user, how many uploads are in progress. */
  readonly #sending = new Map<string, number>();
  readonly #clock: Clock;

  constructor(
    store: PackageStore,
    log: (level: "info" | "warn", message: string) => void,
    clock = SYSTEM_CLOCK,
  ) {
    this.#store = store;
    this.#log = log;
    this.#clock = clock;
  }

  /** Handles the messages of clients about packages. */
  readonly handlers: Handlers<typeof packageMessages, PackageClient> = {
    "offer-package": ({ upload, hash, manifest }, client) =>
      this.#offered(client, upload, hash, manifest),
    "package-chunk": ({ upload, bytes }, client) => this.#chunk(client, upload, bytes),
    "drop-offer": ({ upload }, client) => this.#drop(client, upload),
    "list-packages": (_, client) =>
      this.#inTurn(client, async () => ({
        packages: (await this.#store.list()).filter(({ hash }) => this.#mayKnow(client, hash)),
      })),
    "remove-package": ({ hash }, client) => this.#inTurn(client, () => this.#remove(client, hash)),
  };

  /** A client has sent a package, or has a lease of it: from then on its user may list and remove it. */
  used(client: PackageClient, hash: string): void {
    const { user } = client.identity;
    const hashes = this.#known.get(user) ?? new Set();
    this.#known.set(user, hashes.add(hash));
  }

  /** The node's own user knows all packages; another user knows only those of that user. */
  #mayKnow(client: PackageClient, hash: string): boolean {
    return client.identity === OWNER || (this.#known.get(client.identity.user)?.has(hash) ?? false);
  }

  /** Its half uploads go with it. */
  gone(client: PackageClient): void {
    for (const id of this.#of(client).uploads.keys()) this.#drop(client, id);
  }

  async #offered(
    client: PackageClient,
    id: number,
    hash: string,
    manifest: Uint8Array,
  ): Promise<ReplyOf<typeof OfferPackage>> {
    const { uploads, leaving } = this.#of(client);
    const from = packageUser(client.identity);
    const sending = this.#sending.get(from.name) ?? 0;
    if (uploads.has(id) || uploads.size >= MAX_UPLOADS || leaving >= MAX_UPLOADS) {
      const message = `a client may send ${MAX_UPLOADS} packages at a time; wait for the others`;
      throw this.#refused(client, id, new PackageInvalid(message));
    }
    if (from.name !== OWN_USER.name && sending >= MAX_UPLOADS_OF_USER) {
      const message = `all clients of ${from.name} together may send ${MAX_UPLOADS_OF_USER} packages at a time; wait for the others`;
      throw this.#explained(new PackageInvalid(message));
    }
    const incoming: Incoming = {
      ...{ hash, startedNs: Bun.nanoseconds(), upload: undefined },
      ...{ storedBytes: 0, waitingBytes: 0, tail: Promise.resolve(), orders: 0, silent: undefined },
    };
    uploads.set(id, incoming);
    this.#sending.set(from.name, sending + 1);
    return await this.#order(client, id, incoming, async () => {
      incoming.upload = await this.#store.receive(hash, manifest, from);
      const { missing } = incoming.upload;
      const stored = missing.length === 0;
      if (stored) await this.#finish(client, id, incoming);
      return { files: [...missing], stored };
    });
  }

  async #chunk(
    client: PackageClient,
    id: number,
    bytes: Uint8Array,
  ): Promise<ReplyOf<typeof PackageChunk>> {
    const incoming = this.#of(client).uploads.get(id);
    // Chunks that were in flight when the node refused the upload.
    if (!incoming)
      throw new PackageInvalid(
        `there is no upload ${id}: it was withdrawn, or brought no bytes for ${SILENCE_LIMIT_MS / 1000} s; offer the package again`,
      );
    incoming.waitingBytes += bytes.length;
    if (incoming.waitingBytes > MAX_WAITING_BYTES) {
      const message = "the package comes faster than it is written; wait for acknowledgements";
      throw this.#refused(client, id, new PackageInvalid(message));
    }
    const { length } = bytes;
    return await this.#order(client, id, incoming, async () => {
      const { storedBytes, complete } = await incoming.upload!.write(bytes);
      incoming.waitingBytes -= length;
      incoming.storedBytes = storedBytes;
      if (complete) await this.#finish(client, id, incoming);
      return { storedBytes, stored: complete };
    });
  }

  /** Runs the work after the upload's earlier work, unless the upload is over by then. */
  #order<Reply>(
    client: PackageClient,
    id: number,
    incoming: Incoming,
    make: () => Promise<Reply>,
  ): Promise<Reply> {
    const throwIfOver = (cause?: unknown): void => {
      if (this.#of(client).uploads.get(id) !== incoming)
        throw new PackageInvalid(`upload ${id} was withdrawn; offer the package again`, { cause });
    };
    incoming.orders++;
    incoming.silent?.clear();
    const done = incoming.tail.then(async () => {
      throwIfOver();
      try {
        return await make();
      } catch (error) {
        throwIfOver(error);
        throw this.#refused(client, id, error);
      }
    });
    const after = (): void => {
      if (--incoming.orders === 0) this.#listen(client, id, incoming);
    };
    incoming.tail = done.then(after, after);
    return done;
  }

  /** The node waits for bytes, and not for long. */
  #listen(client: PackageClient, id: number, incoming: Incoming): void {
    if (this.#of(client).uploads.get(id) !== incoming) return;
    incoming.silent = this.#clock.after(SILENCE_LIMIT_MS, () => {
      this.#log(
        "warn",
        `the upload of package ${incoming.upload?.name} by ${client.identity.user} was ended: no bytes came for ${SILENCE_LIMIT_MS / 1000} s`,
      );
      this.#drop(client, id);
    });
    incoming.silent.unref();
  }

  async #finish(client: PackageClient, id: number, incoming: Incoming): Promise<void> {
    const { hash, startedNs, storedBytes } = incoming;
    const upload = incoming.upload!;
    // The client has withdrawn it.
    if (this.#of(client).uploads.get(id) !== incoming) return;
    await upload.finish();
    incoming.upload = undefined;
    if (this.#of(client).uploads.get(id) === incoming) this.#over(client, id, incoming);
    this.used(client, hash);
    const ms = ((Bun.nanoseconds() - startedNs) / 1e6).toFixed(1);
    this.#log(
      "info",
      `package ${upload.name} (${hash.slice(0, 12)}) stored: ${formatBytes(storedBytes)} received in ${ms} ms`,
    );
  }

  async #remove(client: PackageClient, hash: string): Promise<Record<never, never>> {
    const removed = this.#mayKnow(client, hash) ? await this.#store.remove(hash) : "unknown";
    if (removed === "removed") return {};
    const message =
      removed === "unknown"
        ? `the node has no package ${hash}; see: rfaas package ls`
        : `a lease uses package ${hash}; release it first`;
    throw new RequestRefused("RFAAS_PACKAGE_NOT_REMOVED", message);
  }

  /** One question of a client after another. */
  #inTurn<Reply>(client: PackageClient, make: () => Promise<Reply>): Promise<Reply> {
    const sender = this.#of(client);
    const done = sender.asked.then(make).catch((error: unknown) => {
      throw this.#explained(error);
    });
    sender.asked = done.then(
      () => {},
      () => {},
    );
    return done;
  }

  /** Ends an upload. Returns why, as its client hears it. */
  #refused(client: PackageClient, id: number, error: unknown): RfaasError {
    this.#drop(client, id);
    return this.#explained(error);
  }

  #explained(error: unknown): RfaasError {
    const { code, message } = explain(error);
    this.#log("warn", `a package was refused: ${message}`);
    return new RequestRefused(code, message, { cause: error });
  }

  #drop(client: PackageClient, id: number): void {
    const sender = this.#of(client);
    const incoming = sender.uploads.get(id);
    if (!incoming) return;
    this.#over(client, id, incoming);
    sender.leaving++;
    // An order in flight ends first: it must not write again what is removed here.
    void incoming.tail
      .then(() => incoming.upload?.abandon())
      .catch(() => {})
      .finally(() => sender.leaving--);
  }

  #over(client: PackageClient, id: number, incoming: Incoming): void {
    this.#of(client).uploads.delete(id);
    incoming.silent?.clear();
    const { name } = packageUser(client.identity);
    const left = this.#sending.get(name)! - 1;
    if (left > 0) this.#sending.set(name, left);
    else this.#sending.delete(name);
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

/** Whose packages a client's are. */
export function packageUser(identity: Identity): PackageUser {
  if (identity === OWNER) return OWN_USER;
  return { name: identity.user, shared: identity.shared ?? false };
}
