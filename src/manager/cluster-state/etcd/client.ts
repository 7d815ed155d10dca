/** An etcd, by the JSON gateway of its v3 interface: one request after another member where one does not answer. */
import { RegistryUnavailable } from "../../../base/errors.ts";
import { reasonOf } from "../../../base/system-errors.ts";
import type { EtcdPlace } from "./place.ts";

/** A member that does not answer is given up after this; well below the leader's lease. */
const REQUEST_LIMIT_MS = 1_000;
/** etcd computes long over a password, and is asked once, or after minutes without a question. */
const PASSWORD_LIMIT_MS = 5_000;
/** What etcd takes in one transaction by default, less some. */
export const MAX_OPERATIONS = 100;

export interface KeyValue {
  key: string;
  value: Buffer;
  modRevision: number;
  createRevision: number;
}

export interface Found {
  /** Of the whole store, when it was read. */
  revision: number;
  /** Of this etcd: another one has another. */
  store: string;
  keys: KeyValue[];
}

export interface RangeOptions {
  /** All keys that begin so, in place of the one. */
  prefix?: boolean;
  /** Those that have changed since. */
  after?: number;
  limit?: number;
  /** Without values. */
  keysOnly?: boolean;
  order?: { by: "KEY" | "MOD"; descend?: boolean };
}

/** A condition of a transaction: the key was last changed, or made, at this revision; 0 where it is not there. */
export type Condition = { key: string } & ({ modRevision: number } | { createRevision: number });
export type Operation =
  { put: string; value: string | Uint8Array; lease?: string } | { del: string };

interface Header {
  revision?: string;
  cluster_id?: string;
}
interface RawKey {
  key: string;
  value?: string;
  mod_revision?: string;
  create_revision?: string;
}

export class Etcd {
  readonly #place: EtcdPlace;
  /** The member that has answered last. */
  #at = 0;
  #token: string | undefined;

  constructor(place: EtcdPlace) {
    this.#place = place;
  }

  /** Rejects, as all methods do, with {@link RegistryUnavailable}. */
  async range(key: string, options: RangeOptions = {}): Promise<Found> {
    const { prefix, after, limit, keysOnly, order } = options;
    const answer = await this.#ask<{ header: Header; kvs?: RawKey[] }>("kv/range", {
      key: encoded(key),
      ...(prefix ? { range_end: encoded(endOf(key)) } : {}),
      ...(after === undefined ? {} : { min_mod_revision: String(after + 1) }),
      ...(limit === undefined ? {} : { limit: String(limit) }),
      ...(keysOnly ? { keys_only: true } : {}),
      ...(order ? { sort_target: order.by, sort_order: order.descend ? "DESCEND" : "ASCEND" } : {}),
    });
    const { revision = "0", cluster_id: store = "" } = answer.header;
    const keys = (answer.kvs ?? []).map((one) => ({
      key: Buffer.from(one.key, "base64").toString(),
      value: Buffer.from(one.value ?? "", "base64"),
      modRevision: Number(one.mod_revision),
      createRevision: Number(one.create_revision),
    }));
    return { revision: Number(revision), store, keys };
  }

  /** Does all of it where all conditions hold, or else nothing. Resolves to the revision; undefined where one does not hold. */
  async transact(
    conditions: readonly Condition[],
    operations: readonly Operation[],
  ): Promise<number | undefined> {
    const answer = await this.#ask<{ header: Header; succeeded?: boolean }>("kv/txn", {
      compare: conditions.map(comparison),
      success: operations.map(requested),
    });
    return answer.succeeded ? Number(answer.header.revision) : undefined;
  }

  async grantLease(ttlSeconds: number): Promise<{ id: string; ttlMs: number }> {
    const { ID, TTL } = await this.#ask<{ ID: string; TTL: string }>("lease/grant", {
      TTL: String(ttlSeconds),
    });
    return { id: ID, ttlMs: 1000 * Number(TTL) };
  }

  /** For how much longer the lease goes on; 0 where it is over. */
  async renewLease(id: string): Promise<number> {
    const { result } = await this.#ask<{ result: { TTL?: string } }>("lease/keepalive", { ID: id });
    return 1000 * Number(result.TTL ?? 0);
  }

  async revokeLease(id: string): Promise<void> {
    await this.#ask("lease/revoke", { ID: id });
  }

  async #ask<Answer>(method: string, body: unknown): Promise<Answer> {
    const { endpoints, user } = this.#place;
    let failure: unknown;
    for (const _ of endpoints) {
      const endpoint = endpoints[this.#at]!;
      try {
        if (user && this.#token === undefined) this.#token = await this.#authenticate(endpoint);
        const answer = await this.#post(endpoint, method, body);
        if (answer.status < 300) return answer.body as Answer;
        const why = (answer.body as { error?: unknown }).error;
        // A token of etcd's goes out of date.
        if (user && /auth token|unauthenticated/i.test(String(why))) this.#token = undefined;
        failure = new Error(`it says ${answer.status}: ${String(why)}`);
      } catch (error) {
        failure = error;
      }
      this.#at = (this.#at + 1) % endpoints.length;
    }
    throw new RegistryUnavailable(
      `etcd at ${endpoints.join(", ")} does not do what it is asked: ${reasonOf(failure)}; see whether it runs, and its log`,
      { cause: failure },
    );
  }

  async #authenticate(endpoint: string): Promise<string> {
    const { name, password } = this.#place.user!;
    const { status, body } = await this.#post(
      endpoint,
      "auth/authenticate",
      { name, password },
      PASSWORD_LIMIT_MS,
    );
    const { token, error } = body as { token?: string; error?: string };
    if (status < 300 && token !== undefined) return token;
    throw new Error(`it does not take the user ${name}: ${error ?? status}`);
  }

  async #post(
    endpoint: string,
    method: string,
    body: unknown,
    limitMs = REQUEST_LIMIT_MS,
  ): Promise<{ status: number; body: unknown }> {
    const { tls } = this.#place;
    const response = await fetch(`${endpoint}/v3/${method}`, {
      method: "POST",
      headers: this.#token === undefined ? {} : { authorization: this.#token },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(limitMs),
      redirect: "error",
      ...(tls ? { tls } : {}),
    });
    return { status: response.status, body: await response.json() };
  }
}

const encoded = (value: string | Uint8Array): string =>
  Buffer.from(value as string).toString("base64");

/** Above all keys that begin so: etcd's ranges leave their end out. */
const endOf = (prefix: string): string =>
  prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);

function comparison(condition: Condition): object {
  const key = { key: encoded(condition.key), result: "EQUAL" };
  return "modRevision" in condition
    ? { ...key, target: "MOD", mod_revision: String(condition.modRevision) }
    : { ...key, target: "CREATE", create_revision: String(condition.createRevision) };
}

function requested(operation: Operation): object {
  if ("del" in operation) return { request_delete_range: { key: encoded(operation.del) } };
  const { put, value, lease } = operation;
  return { request_put: { key: encoded(put), value: encoded(value), ...(lease ? { lease } : {}) } };
}
