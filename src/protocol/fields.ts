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
/** How long a host may be silent. */
export const MIN_HOST_TIMEOUT_MS = 100;
export const MAX_HOST_TIMEOUT_MS = 3_600_000;
export const DEFAULT_HOST_TIMEOUT_MS = 2000;
export const hostTimeout = Type.Integer({
  minimum: MIN_HOST_TIMEOUT_MS,
  maximum: MAX_HOST_TIMEOUT_MS,
});
export const portNumber = Type.Integer({ minimum: 1, maximum: 65535 });
export const cores = Type.Integer({ minimum: 1, maximum: MAX_LEASE_CORES });
/** Those of one worker side by side; negative where it is not pinned. */
export const cpus = Type.Array(Type.Integer({ minimum: -1 }), { maxItems: MAX_LEASE_CORES });
export const polling = Type.Union([
  Type.Literal("hot"),
  Type.Literal("warm"),
  Type.Literal("adaptive"),
]);
/** What a lease has besides its registered memory. */
export const MIN_HEAP_BYTES = 32 * 1024 * 1024;
export const MAX_HEAP_BYTES = 2 ** 50;
export const heapBytes = Type.Integer({ minimum: MIN_HEAP_BYTES, maximum: MAX_HEAP_BYTES });
/** What a shell takes as the name of a variable. */
export const VARIABLE_NAME = "^[A-Za-z_][A-Za-z0-9_]*$";
export const MAX_VARIABLES = 256;
export const environment = Type.Record(
  Type.String({ pattern: VARIABLE_NAME }),
  // No text with an end within: the system would cut it there.
  Type.String({ maxLength: 64 * 1024, pattern: "^[^\\0]*$" }),
  { additionalProperties: false, maxProperties: MAX_VARIABLES },
);
/** What a lease is for, as it stands on a bill. */
export const PROJECT_NAME = "^[A-Za-z0-9][A-Za-z0-9._@+-]*$";
export const project = Type.String({ minLength: 1, maxLength: 64, pattern: PROJECT_NAME });
/** The name of a fabric; the code that uses it knows which exist. */
export const fabric = Type.String({ maxLength: 64 });
