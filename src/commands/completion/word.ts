/** What is offered to a shell. */
import type { Completed } from "../shared/command.ts";

/** A word, and what it means. */
export type Word = readonly [word: string, meaning: string];

export interface Offer {
  words: readonly Word[];
  /** What else may stand there, which the machine knows. */
  kind?: Completed;
  /** What is before it in the same word: `--node=`. */
  prefix?: string;
  /** The values of the flags that are on the line, for the kinds that ask a node or a manager. */
  given: ReadonlyMap<string, string>;
}

export const HELP: Word = ["--help", "show the manual"];

/** A shell waits no longer for a node or a manager. */
export const LIMIT_MS = 200;
