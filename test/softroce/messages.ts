/** What the host and a guest's agent say to each other: one JSON text a line. */

export interface StartCommand {
  kind: "start";
  id: number;
  /** The words to execute. */
  words: string[];
  env: Record<string, string>;
}

export interface SignalCommand {
  kind: "signal";
  id: number;
  signal: NodeJS.Signals;
}

export type ToGuest = StartCommand | SignalCommand;

/** Sent once, when the guest is as the tests want it. */
export interface Ready {
  kind: "ready";
}

export interface Output {
  kind: "output";
  id: number;
  text: string;
}

/** The command has ended and all its output has been sent. */
export interface Exited {
  kind: "exited";
  id: number;
  /** As a shell says it: 128 and the signal's number for a command that a signal has ended. */
  exitCode: number;
}

export type FromGuest = Ready | Output | Exited;

/** Takes bytes as they come, and gives whole lines. */
export class Lines {
  #rest = "";
  readonly #decoder = new TextDecoder();

  *take(bytes: Uint8Array): Generator<string> {
    const pieces = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = pieces.pop() ?? "";
    yield* pieces;
  }
}
