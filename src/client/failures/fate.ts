/** What may have become of the calls that a loss has ended: they may have run, or they did not. */
import {
  ConnectionLost,
  LeaseLost,
  OutOfMemory,
  type RfaasError,
  WorkerLost,
} from "../../base/errors.ts";

/** How long a loss waits for the end of a process that is being killed: until then it may begin calls. */
const DYING_MS = 500;

/** Of each error that says so: the same without a word of the call's fate. */
const unsaid = new WeakMap<object, RfaasError>();

/** The error of a loss for a call that has not run. */
export function notRun<Loss extends RfaasError>(loss: Loss): Loss;
export function notRun(loss: RfaasError): RfaasError {
  const told = withFate(loss, `${loss.message}; this call did not run`, { mayHaveRun: false });
  if (told) unsaid.set(told, unsaid.get(loss) ?? loss);
  return told ?? loss;
}

/** The error of what is asked of a lease that the program has released: a call of it never runs. */
export function leaseReleased(): LeaseLost {
  const message = "the lease was released; take a new one";
  const told = new LeaseLost(message, { mayHaveRun: false });
  unsaid.set(told, new LeaseLost(message));
  return told;
}

/** The same loss in other words. */
export function reworded<Loss extends RfaasError>(loss: Loss, message: string): Loss;
export function reworded(loss: RfaasError, message: string): RfaasError {
  const { cause } = loss;
  const { mayHaveRun: fate = true } = loss as { mayHaveRun?: boolean };
  return withFate(loss, message, { mayHaveRun: fate, cause }) ?? loss;
}

/** Whether an error says of its call that it has not run. */
export function saysNotRun(error: unknown): boolean {
  return error instanceof Error && unsaid.has(error);
}

/** The error of an attempt for a call of which an earlier attempt, or a part, may have run. */
export function mayHaveRun(error: unknown): unknown {
  return error instanceof Error ? (unsaid.get(error) ?? error) : error;
}

function withFate(
  loss: RfaasError,
  message: string,
  fate: ErrorOptions & { mayHaveRun: boolean },
): RfaasError | undefined {
  if (loss instanceof OutOfMemory) return new OutOfMemory(loss.worker, loss, message, fate);
  if (loss instanceof ConnectionLost) return new ConnectionLost(loss.worker, loss, message, fate);
  if (loss instanceof WorkerLost)
    return new WorkerLost(loss.worker, message, { ...fate, signal: loss.signal });
  return loss instanceof LeaseLost ? new LeaseLost(message, fate) : undefined;
}

/** What a lost worker's calls need of its endpoint. */
interface Ended {
  lastBegun(limitMs: number): number | undefined;
  sequence(slot: number): number;
}

/**
 * The error of each slot's call of a worker that is lost: where both sides map the same memory it is known which calls have begun, and else
 * any that was posted may have run. A lease that is released lets its host end in its own time, so it is not waited for.
 */
export function fatesOf(loss: RfaasError, ended: Ended): (slot: number) => RfaasError {
  let begun: number | undefined;
  let asked = false;
  let spared: RfaasError | undefined;
  return (slot) => {
    if (!asked) begun = ended.lastBegun(loss instanceof LeaseLost ? 0 : DYING_MS);
    asked = true;
    if (begun === undefined || ended.sequence(slot) <= begun) return loss;
    return (spared ??= notRun(loss));
  };
}
