/** A subcommand of the command tree: its usage, its manual, its options, and the code that it runs. */
import type { Static, TObject } from "@sinclair/typebox";

export interface CommandOf<Options extends TObject> {
  /** `invoke <module>`: the name, then its arguments; a command whose usage names none takes none. */
  usage: string;
  summary: string;
  /** Paragraphs of the manual's DESCRIPTION. */
  description: string;
  /** One schema: the flags, their help and their checks come from it, and so do the options that `run` gets. */
  options: Options;
  /** Command lines with what they do. */
  examples: readonly [command: string, effect: string][];
  /** Not listed; for rfaas's own use. */
  hidden?: boolean;
  /** Words in errors of the library and what the command line calls them; the schema translates the options. */
  terms?: Readonly<Record<string, string>>;
  /** What comes behind `--` is for another program: `rest`. Elsewhere it is arguments like others. */
  passesRest?: boolean;
  run(args: readonly string[], options: Static<Options>, rest: readonly string[]): Promise<void>;
}

/** A command of which only its own file knows the options. */
export type Command = CommandOf<TObject>;

/** Lets `run` know the options by their schema. */
export const defineCommand = <Options extends TObject>(command: CommandOf<Options>): Command =>
  command;

export const nameOf = ({ usage }: Command): string => usage.split(" ")[0]!;
