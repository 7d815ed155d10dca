/** What a call ends with whose worker is gone, however that went. */
import { EXIT } from "./exit-codes.ts";
import { RfaasError } from "./rfaas-error.ts";

/** Of a call that a loss has ended. */
export interface Fate {
  /** Default true: it is not known that the function has not run. */
  mayHaveRun?: boolean | undefined;
}

/**
 * The worker, its host process or the node died while the call was in flight, or before it. `mayHaveRun` is false where it is known that
 * the function has not run; else its effects are unknown. What to do: call again where that does no harm (`retries`), and take a new
 * lease when all workers are lost.
 */
export class WorkerLost extends RfaasError {
  override readonly name: string = "WorkerLost";
  readonly code: string = "RFAAS_WORKER_LOST";
  readonly worker: number;
  /** What killed the worker's process, such as `"SIGSEGV"`; undefined when it ended otherwise. */
  readonly signal: string | undefined;
  /** False where it is known that the function of the call has not run: calling again repeats nothing. */
  readonly mayHaveRun: boolean;
  constructor(
    worker: number,
    message: string,
    options: ErrorOptions & Fate & { signal?: string | undefined } = {},
  ) {
    super(message, options);
    this.worker = worker;
    this.mayHaveRun = options.mayHaveRun ?? true;
    this.signal = options.signal;
  }
  override get exitCode(): number {
    return EXIT.leaseLost;
  }
}

/**
 * The lease had more memory than its heap holds, besides its registered memory: JavaScript objects, native memory, what its processes had, and
 * files in memory together. The node has ended it. What to do: keep less, or take a lease with a larger `heap`.
 */
export class OutOfMemory extends WorkerLost {
  override readonly name = "OutOfMemory";
  override readonly code = "RFAAS_OUT_OF_MEMORY";
  /** What it may have had. */
  readonly heapBytes: number;
  /** What it had when the node looked. */
  readonly usedBytes: number;
  constructor(
    worker: number,
    { heapBytes, usedBytes }: { heapBytes: number; usedBytes: number },
    message: string,
    options?: ErrorOptions & Fate,
  ) {
    super(worker, message, options);
    this.heapBytes = heapBytes;
    this.usedBytes = usedBytes;
  }
}

/**
 * The RDMA connection to a worker ended: retries were exhausted, the node died, the link or the device went away. What to do: as
 * for {@link WorkerLost}; `rfaas doctor` looks at the device.
 */
export class ConnectionLost extends WorkerLost {
  override readonly name = "ConnectionLost";
  override readonly code = "RFAAS_CONNECTION_LOST";
  /** Which operation failed; empty when none did. */
  readonly verb: string;
  /** The status of its completion (`enum ibv_wc_status`); 0 when there was none. */
  readonly status: number;
  constructor(
    worker: number,
    { verb, status }: { verb: string; status: number },
    message: string,
    options?: ErrorOptions & Fate,
  ) {
    super(worker, message, options);
    this.verb = verb;
    this.status = status;
  }
}
