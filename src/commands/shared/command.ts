/** What a subcommand is to the command tree: how it is called, what its manual says, its options, and what it runs. */
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
  /** What errors of the library say in words that are not those of the command line; options are known by the schema. */
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
