/**
 * The numbers of `ffi/shim/core/rfaas.h` that TypeScript needs. `rfaas_layout` returns the same list from the compiled shim; the
 * loader compares the two, so a shim of another version is refused instead of trusted.
 */

/** In the order of `rfaas_layout` in `ffi/shim/core/region.c`. */
export const LAYOUT = {
  version: 6,
  requestBytes: 64,
  responseBytes: 64,
  slotBytes: 256,
  channelPageBytes: 4096,
  leasePageBytes: 8192,
  requestInputOffset: 32,
  requestSequence: 56,
  responseStatus: 48,
  responseSequence: 56,
  slotTiming: 64,
  slotResponse: 128,
  inlineInputBytes: 32,
  inlineOutputBytes: 48,
  errorBytes: 4096,
  maxWorkers: 120,
  maxSlots: 1024,
} as const;

/** The status of a call that has no byte count. `enum rfaas_status`. */
export const STATUS = {
  ok: 0,
  pending: -1,
  functionError: -2,
  deadline: -3,
  workerLost: -4,
  ringFull: -5,
  badRequest: -6,
  badResponse: -7,
  notBegun: -8,
} as const;

/** Why a lease or a worker ended. `enum rfaas_end`. */
export const END = {
  alive: 0,
  released: 1,
  exited: 2,
  signalled: 3,
  nodeStopped: 4,
  workerFailed: 5,
  expired: 6,
  revoked: 7,
  overBudget: 8,
  disconnected: 9,
  overLimit: 10,
  unresponsive: 11,
} as const;

/** How a worker waits for its next call. `enum rfaas_polling`. */
export const POLLING = { hot: 0, warm: 1, adaptive: 2 } as const;
export type Polling = keyof typeof POLLING;

/** One-sided operations. `enum rfaas_remote_operation`. */
export const REMOTE = { read: 0, write: 1, fetchAdd: 2, compareSwap: 3 } as const;

/** Ask for time stamps: set in the function index of a request. `RFAAS_TIMED`. */
export const TIMED = 0x10000000;

/** The line in front of the input is the lease's own: a fabric may put the header there. `RFAAS_HEADED`. */
export const HEADED = 0x08000000;

/** Input or output is registered memory of the program's own. `RFAAS_INPUT_OWN`, `RFAAS_OUTPUT_OWN`. */
export const INPUT_OWN = 0x04000000;
export const OUTPUT_OWN = 0x02000000;

/** How often the call was tried before, in the function index of a request: {@link attemptBits}. `RFAAS_ATTEMPT_SHIFT`. */
export const ATTEMPT_SHIFT = 20;
/** `RFAAS_ATTEMPT_MASK`. */
export const ATTEMPT_MASK = 0x00f00000;

/** The caller wants to hear of the call's progress. `RFAAS_REPORTED`. */
export const REPORTED = 0x01000000;

/** The bits that say how often a call was tried before; from the 15th time on they look alike. */
export function attemptBits(before: number): number {
  return Math.min(15, before) << ATTEMPT_SHIFT;
}

/** The arena is addressed by 32-bit offsets and viewed as one ArrayBuffer. */
export const MAX_ARENA_BYTES = 2 ** 32 - 64;
