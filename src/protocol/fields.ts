/** Fields that many messages have. */
import { Type } from "@sinclair/typebox";

/** The most cores of a node, and so of a lease. */
export const MAX_LEASE_CORES = 1024;

export const count = Type.Integer({ minimum: 1, maximum: 0xffffffff });
export const index = Type.Integer({ minimum: 0, maximum: 0xffffffff });
/** Names a call of a worker: calls are counted for the life of the lease. */
export const sequence = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
export const text = Type.String({ maxLength: 64 * 1024 });
export const bytes = (length: number) =>
  Type.Uint8Array({ minByteLength: length, maxByteLength: length });
/** So many bytes as text, for what travels as JSON. */
export const hex = (length: number) => Type.String({ pattern: `^[0-9a-f]{${2 * length}}$` });
/** A day: a lease is renewed, not long, and a request asks again. */
export const MAX_DURATION_MS = 86_400_000;
export const duration = Type.Integer({ minimum: 1, maximum: MAX_DURATION_MS });
export const portNumber = Type.Integer({ minimum: 1, maximum: 65535 });
export const cores = Type.Integer({ minimum: 1, maximum: MAX_LEASE_CORES });
/** Those of one worker side by side; negative where it is not pinned. */
export const cpus = Type.Array(Type.Integer({ minimum: -1 }), { maxItems: MAX_LEASE_CORES });
export const polling = Type.Union([
  Type.Literal("hot"),
  Type.Literal("warm"),
  Type.Literal("adaptive"),
]);
/** The name of a fabric; the code that uses it knows which exist. */
export const fabric = Type.String({ maxLength: 64 });
