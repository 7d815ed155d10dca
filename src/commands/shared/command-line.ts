/**
 * Reads the words of a command line, as POSIX and GNU have it: `--name value`, `--name=value`, `-n 5`, `-n5`, `--` before words that
 * are no options. What is wrong with the form is said in the words of the command; what the words mean, its schema knows.
 */
import { parseArgs } from "node:util";
import type { Static, TObject } from "@sinclair/typebox";
import { cac } from "cac";
import { UsageError } from "../../base/errors.ts";
import { nearest } from "../../base/near-names.ts";
import { type Flag, type Written, flagsOf, readFlags } from "../../options/flags.ts";
import { type Command, nameOf } from "./command.ts";

/** A command line that was split. */
export interface Split {
  args: string[];
  written: Written;
  /** The words behind `--`, for a command that passes them on. */
  rest: string[];
}

/** Arguments and options of a command. Throws {@link UsageError}. */
export function readCommandLine(
  command: Command,
  words: readonly string[],
): { args: string[]; options: Static<TObject>; rest: string[] } {
  const { args, written, rest } = splitWords(command, words);
  const name = nameOf(command);
  if (args.length > 0 && command.usage === name)
    throw new UsageError(`${name} takes no argument "${args[0]}"; see: rfaas help ${name}`);
  return { args, options: readFlags(command.options, written), rest };
}

/** Which words are arguments, and which belong to which option. Throws {@link UsageError}. */
export function splitWords(command: Command, words: readonly string[]): Split {
  const name = nameOf(command);
  const flags = flagsOf(command.options);
  const { options, values, args, rest } = inOneForm(command, flags, words);
  const cli = cac("rfaas");
  const matched = cli.command(name);
  for (const { name: field, placeholder } of flags)
    matched.option(`--${field}${placeholder === undefined ? "" : " <value>"}`, "");
  const given = cli.parse(["", "", name, ...options, "--", ...args], { run: false }).options;
  const written = flags.flatMap(({ name: field }) =>
    given[field] === undefined
      ? []
      : [[field, [given[field]].flat().map((at) => (at === true ? at : values[at]!))] as const],
  );
  return { args: given["--"] as string[], written: Object.fromEntries(written), rest };
}

/**
 * The words with every option called as its field is, and what follows it tied to it. `cac` makes a number of a value that looks like one:
 * it is given the value's place in `values`, which is one, so that the text stays as it was written.
 */
function inOneForm(command: Command, flags: readonly Flag[], words: readonly string[]) {
  const { tokens } = parseArgs({
    args: [...words],
    options: Object.fromEntries(
      flags.map(({ long, short, placeholder }) => [
        long,
        {
          type: placeholder === undefined ? "boolean" : "string",
          ...(short === undefined ? {} : { short }),
        } as const,
      ]),
    ),
    allowPositionals: true,
    // What it would refuse is refused below, with more to say.
    strict: false,
    tokens: true,
  });
  const options: string[] = [];
  const values: string[] = [];
  const args: string[] = [];
  const rest: string[] = [];
  let passing = false;
  for (const token of tokens) {
    if (token.kind === "option-terminator") passing = command.passesRest ?? false;
    else if (token.kind === "positional") (passing ? rest : args).push(token.value);
    else {
      const flag = flags.find(({ long }) => long === token.name);
      if (!flag) throw unknownOption(token.rawName, nameOf(command), flags);
      const value = valueOf(flag, token.rawName, token.value, token.inlineValue ?? false);
      const at = value === undefined ? "" : `=${values.push(value) - 1}`;
      options.push(`--${flag.name}${at}`);
    }
  }
  return { options, values, args, rest };
}

/** Undefined for an option that takes none. */
function valueOf(
  { placeholder }: Flag,
  rawName: string,
  value: string | undefined,
  inline: boolean,
): string | undefined {
  if (placeholder === undefined) {
    if (inline) throw new UsageError(`${rawName} takes no value; it is ${JSON.stringify(value)}`);
    return undefined;
  }
  // Of two options in a row the first has lost its value.
  const missing = value === undefined || value === "" || (!inline && /^--?[A-Za-z]/.test(value));
  if (missing)
    throw new UsageError(
      `${rawName} needs a value: ${rawName} <${placeholder}>${value?.startsWith("-") ? `, or ${rawName}=${value} if it begins with a dash` : ""}`,
    );
  return value;
}

function unknownOption(rawName: string, command: string, flags: readonly Flag[]): UsageError {
  const names = flags.flatMap(({ long, short }) => [`--${long}`, ...(short ? [`-${short}`] : [])]);
  const begun = rawName.length > 2 ? names.filter((name) => name.startsWith(rawName)) : [];
  const near = begun.length > 0 ? begun.join(" or ") : nearest(rawName, names);
  return new UsageError(
    `unknown option ${rawName}; ${near ? `did you mean ${near}? See` : "see"}: rfaas help ${command}`,
  );
}
