/** A subcommand of the command tree: its usage, its manual, its options, and the code that it runs. */
import type { Static, TObject } from "@sinclair/typebox";

/** What a shell completes a word to. */
export type Completed = "command" | "file" | "folder" | "function" | "node" | "address" | "package";

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
  /** What an argument is, by those before it; words that the usage names, as in `<ls|rm>`, need no entry. */
  completes?: (before: readonly string[]) => Completed | undefined;
  /** Words in errors of the library and what the command line calls them; the schema translates the options. */
  terms?: Readonly<Record<string, string>>;
  /** What comes behind `--` is for another program: `rest`. Elsewhere it is arguments like others. */
  passesRest?: boolean;
  run(
    args: readonly string[],
    options: Static<Options>,
    rest: readonly string[],
    tree: CommandTree,
  ): Promise<void>;
}

/** The commands that people use, for a command that tells of the others. */
export interface CommandTree {
  /** In the order of the overview. */
  readonly names: readonly string[];
  /** Throws `UsageError` when there is no such command. */
  load(name: string): Promise<Command>;
}

/** A command of which only its own file knows the options. */
export type Command = CommandOf<TObject>;

/** Lets `run` know the options by their schema. */
export const defineCommand = <Options extends TObject>(command: CommandOf<Options>): Command =>
  command;

/** All commands of the tree, which takes some 20 ms. */
export const commandsOf = (tree: CommandTree): Promise<Command[]> =>
  Promise.all(tree.names.map((name) => tree.load(name)));

export const nameOf = ({ usage }: Command): string => usage.split(" ")[0]!;
