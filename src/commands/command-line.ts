/**
 * Reads the words of a command line, as POSIX and GNU have it: `--name value`, `--name=value`, `-n 5`, `-n5`, `--` before words that
 * are no options. Every value stays the text that was written; what is wrong with the form is said in the words of the command.
 */
import { parseArgs } from "node:util";
import { UsageError } from "../errors.ts";
import type { Command } from "./command.ts";
import { nearest } from "./manual.ts";

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
  const name = command.usage.split(" ")[0]!;
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
  const args: string[] = [];
  const passed: string[] = [];
  const given = new Map<string, (string | true)[]>();
  let ended = false;
  for (const token of tokens) {
    if (token.kind === "option-terminator") ended = true;
    else if (token.kind === "positional")
      (ended && command.passesRest ? passed : args).push(token.value);
    else {
      const option = declared.find(({ long }) => long === token.name);
      if (!option) throw unknownOption(token.rawName, name, declared);
      const value = valueOf(option, token.rawName, token.value, token.inlineValue ?? false);
      given.set(option.name, [...(given.get(option.name) ?? []), value]);
    }
  }
  const options: GivenOptions = {};
  for (const [key, values] of given) options[key] = values.length === 1 ? values[0] : values;
  if (command.passesRest) options["--"] = passed;
  return { args, options };
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
    `unknown option ${rawName}${near ? `; did you mean ${near}?` : ""} See: rfaas help ${command}`,
  );
}

function declaredOptions(command: Command): Declared[] {
  return command.options.map(({ flag }) => {
    const [, short, long = "", value] = /^(?:-(\w), )?--([\w-]+)(?: <(.+)>)?$/.exec(flag) ?? [];
    const name = long.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    return { long, name, short, value };
  });
}
