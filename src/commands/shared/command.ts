/** What a subcommand is to the command tree: how it is called, what its manual says, and what it runs. */

export interface Option {
  /** As the manual shows it: `--cores <n>`, `-n, --iterations <n>`, `--json`. */
  flag: string;
  description: string;
}

export interface Command {
  /** `invoke <module>`: the name, then its arguments. */
  usage: string;
  summary: string;
  /** Paragraphs of the manual's DESCRIPTION. */
  description: string;
  options: readonly Option[];
  /** Command lines with what they do. */
  examples: readonly [command: string, effect: string][];
  /** Not listed; for rfaas's own use. */
  hidden?: boolean;
  /** How the library's errors call what are options here: `deadlineMs` is `--deadline`. */
  terms?: Readonly<Record<string, string>>;
  /** What comes behind `--` is for another program: the option `--`. Elsewhere it is arguments like others. */
  passesRest?: boolean;
  /** Options as they were written, not yet validated; see `command-line.ts`. */
  run(args: string[], options: Record<string, unknown>): Promise<void>;
}
