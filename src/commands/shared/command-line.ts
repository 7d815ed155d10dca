/**
 * Reads the words of a command line, as POSIX and GNU have it: `--name value`, `--name=value`, `-n 5`, `-n5`, `--` before words that
 * are no options. Every value stays the text that was written; what is wrong with the form is said in the words of the command.
 */
import { parseArgs } from "node:util";
import { cac } from "cac";
import { nearest } from "../../base/near-names.ts";
import { UsageError } from "../../base/errors.ts";
import type { Command } from "./command.ts";

/** Options by their names in code (`outputSize`), each a text, or true for one without a value; a list where given repeatedly. */
export type GivenOptions = Record<string, unknown>;

interface Declared {
  long: string;
  /** In code. */
  name: string;
  short: string | undefined;
  /** What its value is called; undefined for an option that takes none. */
  value: string | undefined;
}

/** Arguments and options of a command. Throws {@link UsageError}. */
export function parseCommandLine(
  command: Command,
  words: readonly string[],
): { args: string[]; options: GivenOptions } {
  const name = nameOf(command);
  const cli = cac("rfaas");
  const matched = cli.command(`${name} [...args]`, command.summary);
  for (const { flag, description } of command.options) matched.option(flag, description);
  const given = cli.parse(["", "", name, ...markedWords(command, words)], { run: false });
  const options: GivenOptions = {};
  for (const { name: key } of declaredOptions(command))
    if (given.options[key] !== undefined) options[key] = asWritten(given.options[key]);
  if (command.passesRest) options["--"] = asWritten(given.options["--"] ?? []);
  return { args: given.args.map((word) => asWritten(word) as string), options };
}

/** `cac` makes a number of what looks like one, and an option of what begins with a dash: no word of an argv has this in it. */
const MARK = "\0";

const asWritten = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(asWritten)
    : typeof value === "string" && value.startsWith(MARK)
      ? value.slice(MARK.length)
      : value;

/** The words with every value tied to its option, and marked as the text that it is. Throws {@link UsageError}. */
function markedWords(command: Command, words: readonly string[]): string[] {
  const declared = declaredOptions(command);
  const { tokens } = parseArgs({
    args: [...words],
    options: Object.fromEntries(
      declared.map(({ long, short, value }) => [
        long,
        { type: value === undefined ? "boolean" : "string", ...(short ? { short } : {}) } as const,
      ]),
    ),
    allowPositionals: true,
    // What it would refuse is refused below, with more to say.
    strict: false,
    tokens: true,
  });
  return tokens.flatMap((token) => {
    if (token.kind === "option-terminator") return command.passesRest ? ["--"] : [];
    if (token.kind === "positional") return [MARK + token.value];
    const option = declared.find(({ long }) => long === token.name);
    if (!option) throw unknownOption(token.rawName, nameOf(command), declared);
    const value = valueOf(option, token.rawName, token.value, token.inlineValue ?? false);
    return [value === true ? `--${option.long}` : `--${option.long}=${MARK}${value}`];
  });
}

function valueOf(
  { value: called }: Declared,
  rawName: string,
  value: string | undefined,
  inline: boolean,
): string | true {
  if (called === undefined) {
    if (inline) throw new UsageError(`${rawName} takes no value; it is ${JSON.stringify(value)}`);
    return true;
  }
  // Of two options in a row the first has lost its value.
  const missing = value === undefined || value === "" || (!inline && /^--?[A-Za-z]/.test(value));
  if (missing)
    throw new UsageError(
      `${rawName} needs a value: ${rawName} <${called}>${value?.startsWith("-") ? `, or ${rawName}=${value} if it begins with a dash` : ""}`,
    );
  return value;
}

function unknownOption(
  rawName: string,
  command: string,
  declared: readonly Declared[],
): UsageError {
  const flags = declared.flatMap(({ long, short }) => [
    `--${long}`,
    ...(short ? [`-${short}`] : []),
  ]);
  const begun = rawName.length > 2 ? flags.filter((flag) => flag.startsWith(rawName)) : [];
  const near = begun.length > 0 ? begun.join(" or ") : nearest(rawName, flags);
  return new UsageError(
    `unknown option ${rawName}; ${near ? `did you mean ${near}? See` : "see"}: rfaas help ${command}`,
  );
}

const nameOf = ({ usage }: Command): string => usage.split(" ")[0]!;

function declaredOptions(command: Command): Declared[] {
  return command.options.map(({ flag }) => {
    const [, short, long = "", value] = /^(?:-(\w), )?--([\w-]+)(?: <(.+)>)?$/.exec(flag) ?? [];
    const name = long.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    return { long, name, short, value };
  });
}
