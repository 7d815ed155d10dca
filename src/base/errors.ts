/**
 * Everything that can go wrong, one class each: `code` for programs, `message` for people (it ends with what to do), `cause`
 * and data fields for both. {@link exitCode} says how a command ends.
 */
import { EXIT } from "./error/exit-codes.ts";
import type { Fate } from "./error/loss.ts";
import { RfaasError } from "./error/rfaas-error.ts";

export { EXIT, RfaasError };
export { ConnectionLost, OutOfMemory, WorkerLost } from "./error/loss.ts";
export { KeyChanged, PeerNotTrusted } from "./error/trust.ts";

/**
 * A value, option or argument is wrong: the caller's mistake, found before anything was done. What to do: correct it as the message
 * says; `path` names an option.
 */
export class UsageError extends RfaasError {
  override readonly name = "UsageError";
  readonly code = "RFAAS_USAGE";
  /** Which option it is, such as `budget.calls`; undefined when it is none. */
  readonly path: string | undefined;
  constructor(message: string, options: ErrorOptions & { path?: string } = {}) {
    super(message, options);
    this.path = options.path;
  }
  override get exitCode(): number {
    return EXIT.usage;
  }
}

/** The peer sent a message that this version does not understand. What to do: install the same version on both sides. */
export class ProtocolError extends RfaasError {
  override readonly name = "ProtocolError";
  readonly code = "RFAAS_PROTOCOL";
}

/** This machine, or the runtime of this program, cannot run rfaas. What to do: run the program where the message says. */
export class PlatformUnsupported extends RfaasError {
  override readonly name = "PlatformUnsupported";
  readonly code = "RFAAS_PLATFORM";
}

/** Library and executable are of different versions, which the message names. What to do: install the same version of both. */
export class VersionMismatch extends RfaasError {
  static readonly CODE = "RFAAS_VERSION";
  override readonly name = "VersionMismatch";
  readonly code = VersionMismatch.CODE;
}

/**
 * No node or manager answers at the address, or a private node does not start. What to do: see whether it runs (`rfaas ps`), and
 * what its log says.
 */
export class NodeUnreachable extends RfaasError {
  override readonly name = "NodeUnreachable";
  readonly code = "RFAAS_NODE_UNREACHABLE";
  readonly node: string;
  constructor(node: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.node = node;
  }
  override get exitCode(): number {
    return EXIT.noExecutor;
  }
}

/** A limit of the user's own that a lease would cross (`RFAAS_TOKEN_LIMIT`). */
export interface LimitReached {
  /** Whether it is the user's other leases that leave too little: when they end, there is room. Else no wait helps. */
  readonly passes: boolean;
  /** Whether the limit counts over all nodes of the cluster; else on the node that says it. */
  readonly shared: boolean;
  /** How many cores the user may hold at a time, where those are limited. */
  readonly cores?: number | undefined;
}

/**
 * The node or the cluster answered, and refused: it is full, draining, or cannot serve this client; or the invoker was closed.
 * `code` says which. What to do: wait or ask for less when it is full, and otherwise what the message says.
 */
export class LeaseRefused extends RfaasError {
  override readonly name = "LeaseRefused";
  readonly code: string;
  /** Of `RFAAS_TOKEN_LIMIT`: what limit it is; undefined where the node does not say. */
  readonly limit: LimitReached | undefined;
  constructor(
    code: string,
    message: string,
    { limit, ...options }: ErrorOptions & { limit?: LimitReached | undefined } = {},
  ) {
    super(message, options);
    this.code = code;
    this.limit = limit;
  }
  override get exitCode(): number {
    return EXIT.noExecutor;
  }
}

/** The address is taken by another node. What to do: end that one, or choose another address. */
export class AddressInUse extends RfaasError {
  override readonly name = "AddressInUse";
  readonly code = "RFAAS_ADDRESS_IN_USE";
}

/**
 * The manager's registry does not answer, or refuses. Nodes, leases and calls go on without it. What to do: see whether it runs.
 */
export class RegistryUnavailable extends RfaasError {
  override readonly name = "RegistryUnavailable";
  readonly code = "RFAAS_REGISTRY";
}

/**
 * Another process that runs keeps its state in this directory. What to do: end that one, which the message names, or name another
 * directory.
 */
export class StateInUse extends RfaasError {
  override readonly name = "StateInUse";
  readonly code = "RFAAS_STATE_IN_USE";
}

/**
 * The function module could not be found, parsed or evaluated. `cause` is the module's own error. What to do: correct the module.
 */
export class ModuleLoadError extends RfaasError {
  override readonly name = "ModuleLoadError";
  readonly code: string;
  readonly module: string;
  constructor(code: string, module: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.module = module;
  }
}

/**
 * The package cannot be made or stored: a path that climbs out, a file that changed, a hash that its bytes do not have. What to do:
 * correct the file that the message names, and build the package again.
 */
export class PackageInvalid extends RfaasError {
  override readonly name = "PackageInvalid";
  readonly code = "RFAAS_PACKAGE_INVALID";
}

/** The package is larger than the node takes, or than its cache can hold. What to do: include less, or serve with larger limits. */
export class PackageTooLarge extends RfaasError {
  override readonly name = "PackageTooLarge";
  readonly code = "RFAAS_PACKAGE_TOO_LARGE";
}

/**
 * The node does not have the package, and neither has the client. What to do: name the module or its package file instead of the
 * hash, or push it first.
 */
export class PackageUnknown extends RfaasError {
  override readonly name = "PackageUnknown";
  readonly code = "RFAAS_PACKAGE_UNKNOWN";
  /** SHA-256 of its manifest, in hex. */
  readonly hash: string;
  constructor(hash: string, message: string) {
    super(message);
    this.hash = hash;
  }
}

/** The module has no function of this name. What to do: call one of those that the message lists. */
export class NoSuchFunction extends RfaasError {
  override readonly name = "NoSuchFunction";
  readonly code = "RFAAS_NO_SUCH_FUNCTION";
  readonly functionName: string;
  constructor(functionName: string, message: string) {
    super(message);
    this.functionName = functionName;
  }
  override get exitCode(): number {
    return EXIT.usage;
  }
}

/**
 * The function threw. `name`, `message`, `code`, `cause` and `remoteStack` are the thrown error's own, and so are the properties
 * that it had besides (`status`, `errno`, ..), as far as JSON has them and they are short. What to do: what the function's author
 * says; when it is `retryable`, call again.
 */
export class FunctionError extends RfaasError {
  override readonly name: string;
  /** The thrown error's, else `"RFAAS_FUNCTION_ERROR"`. */
  readonly code: string | number;
  /** The stack in the worker; `stack` continues with the caller's. */
  readonly remoteStack: string | undefined;
  /** Whether the function said that another attempt may succeed: `retryable: true` on what it threw. */
  readonly retryable: boolean;
  /** The first of those that an `AggregateError` has gathered. */
  declare readonly errors?: readonly Error[];
  constructor(record: {
    name: string;
    message: string;
    code?: string | number | undefined;
    stack?: string | undefined;
    retryable?: boolean | undefined;
    cause?: Error | undefined;
  }) {
    super(record.message, record.cause === undefined ? undefined : { cause: record.cause });
    this.name = record.name;
    this.retryable = record.retryable ?? false;
    this.code = record.code ?? "RFAAS_FUNCTION_ERROR";
    this.remoteStack = record.stack;
    if (record.stack) this.stack = `${record.stack}\n    --- called from ---\n${this.stack ?? ""}`;
  }
}

/**
 * A value is not what the function's schema asks for, or cannot travel. Refused before it was sent when the client knows the
 * schema, else by the worker, before the function ran; for `"output"` the function ran, and returned it. What to do: correct the
 * part that `path` names.
 */
export class InvalidValue extends RfaasError {
  override readonly name = "InvalidValue";
  readonly code = "RFAAS_INVALID_VALUE";
  readonly functionName: string;
  readonly side: "input" | "output";
  /** The wrong part: `/` for the value itself, else a JSON pointer: `/weights/3`. */
  readonly path: string;
  /** What is wrong with it, without the function and the path. */
  readonly problem: string;
  constructor(
    functionName: string,
    side: InvalidValue["side"],
    pointer: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    const path = pointer === "" ? "/" : pointer;
    const todo =
      side === "input"
        ? "pass a value of the function's input"
        : "correct what the function returns";
    super(`the ${side} of "${functionName}" is wrong at ${path}: ${problem}; ${todo}`, options);
    this.functionName = functionName;
    this.side = side;
    this.path = path;
    this.problem = problem;
  }
  override get exitCode(): number {
    return this.side === "input" ? EXIT.usage : EXIT.failed;
  }
}

/**
 * The call did not end by its deadline. The function may still be running; its worker is restarted if it does not stop. What to do:
 * raise `deadlineMs`, or make the function faster.
 */
export class DeadlineExceeded extends RfaasError {
  override readonly name = "DeadlineExceeded";
  readonly code = "RFAAS_DEADLINE_EXCEEDED";
  readonly deadlineMs: number;
  constructor(
    deadlineMs: number,
    message = `the call did not finish within ${deadlineMs} ms; raise deadlineMs or make the function faster`,
  ) {
    super(message);
    this.deadlineMs = deadlineMs;
  }
  override get exitCode(): number {
    return EXIT.timeout;
  }
}

/** An RDMA connection could not be set up. What to do: run `rfaas doctor` on both machines. */
export class ConnectionFailed extends RfaasError {
  override readonly name = "ConnectionFailed";
  readonly code = "RFAAS_CONNECTION_FAILED";
  override get exitCode(): number {
    return EXIT.noExecutor;
  }
}

/**
 * No RDMA port can be used. `device` and `port` say which one was asked for or looked at, where it was one. What to do: run `rfaas
 * doctor`, or ask for another fabric.
 */
export class FabricUnavailable extends RfaasError {
  override readonly name = "FabricUnavailable";
  readonly code = "RFAAS_NO_VERBS";
  readonly device: string | undefined;
  readonly port: number | undefined;
  constructor(
    message: string,
    where: { device?: string | undefined; port?: number | undefined } = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.device = where.device;
    this.port = where.port;
  }
}

/**
 * The lease was released, is being taken back, or its last node went away: no more calls can be made on it. `mayHaveRun` is false where
 * it is known that the function of the call has not run. What to do: take a new lease.
 */
export class LeaseLost extends RfaasError {
  override readonly name = "LeaseLost";
  readonly code = "RFAAS_LEASE_LOST";
  /** False where it is known that the function of the call has not run: calling again repeats nothing. */
  readonly mayHaveRun: boolean;
  constructor(message: string, options: ErrorOptions & Fate = {}) {
    super(message, options);
    this.mayHaveRun = options.mayHaveRun ?? true;
  }
  override get exitCode(): number {
    return EXIT.leaseLost;
  }
}

/** The lease's memory has no room for the buffer. What to do: free a buffer, or take a lease with more `memory`. */
export class OutOfLeaseMemory extends RfaasError {
  override readonly name = "OutOfLeaseMemory";
  readonly code = "RFAAS_OUT_OF_LEASE_MEMORY";
  readonly requestedBytes: number;
  readonly freeBytes: number;
  /** The part of a value that did not fit, as {@link InvalidValue.path} names it. */
  readonly path: string | undefined;
  constructor(requestedBytes: number, freeBytes: number, pointer?: string) {
    const path = pointer === "" ? "/" : pointer;
    const value = path === undefined ? "" : `, which the value takes up to ${path}`;
    super(
      `the lease has no room for ${requestedBytes} more bytes${value} (${freeBytes} are free); free a buffer or ask for more with { memory }`,
    );
    this.requestedBytes = requestedBytes;
    this.freeBytes = freeBytes;
    this.path = path;
  }
}

/** More calls are waiting in the client than its queue holds. What to do: await some, or let `lease.map` make the calls. */
export class QueueFull extends RfaasError {
  override readonly name = "QueueFull";
  readonly code = "RFAAS_QUEUE_FULL";
}

/**
 * The machine cannot do the task: no memory, no shared memory, a file that cannot be read or written. What to do: follow the message;
 * `rfaas doctor` examines the machine.
 */
export class EnvironmentError extends RfaasError {
  override readonly name = "EnvironmentError";
  readonly code = "RFAAS_ENVIRONMENT";
}

/**
 * The access token is missing, damaged, expired, signed with another key, or not for this use. The message never shows it. What to
 * do: get one that is valid here, and set `RFAAS_TOKEN`.
 */
export class TokenRefused extends RfaasError {
  override readonly name = "TokenRefused";
  readonly code = "RFAAS_TOKEN";
  /**
   * `outdated`: of a format that this version does not read. `unproven`: without a proof that its holder shows it, here and for this once.
   * `refused`: by a peer, whose message says why.
   */
  readonly reason:
    | "malformed"
    | "outdated"
    | "foreign"
    | "expired"
    | "revoked"
    | "used"
    | "scope"
    | "unproven"
    | "refused";
  constructor(reason: TokenRefused["reason"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/**
 * The ledger cannot be opened, read or written. What it had recorded before is still there. What to do: make room on the disk, or
 * correct the state directory that the message names.
 */
export class LedgerUnavailable extends RfaasError {
  override readonly name = "LedgerUnavailable";
  readonly code = "RFAAS_LEDGER";
}

/** How a command that ends with `error` exits. */
export function exitCode(error: unknown): number {
  return error instanceof RfaasError ? error.exitCode : EXIT.failed;
}
