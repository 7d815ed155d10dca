/** Errors that happened in another process, rebuilt here. */
import { constants } from "node:os";
import { END } from "../../../ffi/layout.ts";
import { FunctionError, InvalidValue } from "../../base/errors.ts";
import { describeExpired, describeRevoked } from "../../protocol/ends/end-detail.ts";
import { describeExcess, unpackExcess } from "../../protocol/ends/excess.ts";
import { describeUnresponsive, unpackUnresponsive } from "../../protocol/ends/unresponsive.ts";
import { describeExitCode } from "../../protocol/ends/host-exit.ts";
import { type ErrorRecord, MAX_CAUSES } from "../../base/error/record.ts";
import { withAuthorPaths } from "./author-paths.ts";

/** An `Error` with the name, message, stack, causes and properties of the one that was caught remotely. */
export function remoteCause(record: ErrorRecord, causes = MAX_CAUSES): Error {
  const error = new Error(withAuthorPaths(record.message), causeOf(record.cause, causes));
  error.name = record.name;
  // A stack of this process would say nothing.
  error.stack = withAuthorPaths(record.stack ?? `${record.name}: ${record.message}`);
  Object.assign(
    error,
    record.code === undefined ? {} : { code: record.code },
    record.retryable ? { retryable: true } : {},
  );
  return withDetails(error, record, causes);
}

function causeOf(value: unknown, causes: number): { cause?: Error } {
  const cause = partOf(value, causes);
  return cause === undefined ? {} : { cause };
}

/** An error that hangs on another. */
function partOf(value: unknown, causes: number): Error | undefined {
  const record = soundRecord(value);
  return record === undefined || causes === 0 ? undefined : remoteCause(record, causes - 1);
}

/** Copies the remote error's further properties, but overwrites none that the error has. Trusts none of them. */
function withDetails<Failure extends Error>(
  error: Failure,
  { errors, held, own }: { errors?: unknown; held?: unknown; own?: unknown },
  causes: number,
): Failure {
  const gathered = Array.isArray(errors)
    ? errors.map((part) => partOf(part, causes)).filter((part) => part !== undefined)
    : [];
  const details: [string, unknown][] = [
    ["errors", gathered.length > 0 ? gathered : undefined],
    ...entriesOf(held).map(([name, part]): [string, unknown] => [name, partOf(part, causes)]),
    ...entriesOf(own),
  ];
  for (const [name, value] of details)
    if (value !== undefined && !(name in error)) Object.assign(error, { [name]: value });
  return error;
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === "object" && value !== null ? Object.entries(value) : [];
}

/** No failure: the worker keeps a result that did not fit. The function's handle fetches it; callers never see this. */
export class ResultWaits extends FunctionError {
  readonly ticket: number;
  readonly bytes: number;
  constructor(
    record: { name: string; message: string },
    { ticket, bytes }: NonNullable<ErrorRecord["kept"]>,
  ) {
    super(record);
    this.ticket = ticket;
    this.bytes = bytes;
  }
}

/** What a function threw, from the error record of its call. A record that cannot be read is itself reported. */
export function functionErrorFrom(bytes: Uint8Array): FunctionError | InvalidValue {
  const record = soundRecord(parse(bytes));
  if (record === undefined)
    return new FunctionError({
      name: "FunctionError",
      message: "the function failed, and its error could not be read",
    });
  const { kept, invalid, cause, ...rest } = record;
  if (Number.isSafeInteger(kept?.ticket) && Number.isSafeInteger(kept?.bytes) && kept!.bytes >= 0)
    return new ResultWaits(rest, kept!);
  if (invalid?.side === "input" || invalid?.side === "output") {
    const { functionName, side, path, problem } = invalid;
    return new InvalidValue(
      String(functionName),
      side,
      String(path),
      String(problem),
      causeOf(cause, MAX_CAUSES),
    );
  }
  const error = new FunctionError({
    ...rest,
    message: withAuthorPaths(rest.message),
    stack: rest.stack && withAuthorPaths(rest.stack),
    ...causeOf(cause, MAX_CAUSES),
  });
  return withDetails(error, rest, MAX_CAUSES);
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** `SIGSEGV` for 11. */
export function signalName(number: number): string | undefined {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
}

/** The fields that are what they should be; undefined when it is no error at all. */
function soundRecord(value: unknown): ErrorRecord | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { name, message, code, stack, retryable, cause, errors, held, own, invalid, kept } =
    value as Partial<ErrorRecord>;
  if (typeof name !== "string" || typeof message !== "string") return undefined;
  return {
    name,
    message,
    ...(typeof code === "string" || typeof code === "number" ? { code } : {}),
    ...(typeof stack === "string" ? { stack } : {}),
    ...(retryable === true ? { retryable } : {}),
    ...(cause === undefined ? {} : { cause }),
    ...(errors === undefined ? {} : { errors }),
    ...(held === undefined ? {} : { held }),
    ...(own === undefined ? {} : { own }),
    ...(invalid === undefined || invalid === null ? {} : { invalid }),
    ...(kept === undefined || kept === null ? {} : { kept }),
  };
}

/** The reason in shared memory, in words; `detail` is an exit code or a signal. */
export function describeEnd(reason: number, detail: number): string {
  switch (reason) {
    case END.released:
      return "the lease was released";
    case END.exited:
      return `its host process ${describeExitCode(detail)}`;
    case END.signalled:
      return `its host process was killed by signal ${detail} (${signalName(detail) ?? "unknown"})${detail === 9 ? ", by its own functions, another process, or for lack of memory" : ": a crash in native code, or more memory than the lease has"}`;
    case END.nodeStopped:
      return "the node stopped";
    case END.expired:
      return describeExpired(detail);
    case END.revoked:
      return describeRevoked(detail);
    case END.overBudget:
      return "the lease's budget is spent";
    case END.overLimit:
      return describeExcess(unpackExcess(detail, 0));
    case END.unresponsive:
      return describeUnresponsive(...unpackUnresponsive(detail));
    case END.disconnected:
      return "the node has no connection to this program any more: it was closed, or the program did not read it for long";
    case END.workerFailed:
      return "an uncaught error ended the worker, or its memory ran out";
    default:
      return "its host process or its node died";
  }
}
