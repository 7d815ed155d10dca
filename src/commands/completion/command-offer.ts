/** What a command offers at the cursor: subcommands, flags, their values, by its schema and its usage. */
import { Kind, type TSchema } from "@sinclair/typebox";
import { flagSentence } from "../../options/describe.ts";
import { type Flag, flagsOf } from "../../options/flags.ts";
import type { Command, Completed } from "../shared/command.ts";
import { HELP, type Offer } from "./word.ts";

/** `before` are the words between the command and the cursor. */
export function offerOf(command: Command, before: readonly string[], current: string): Offer {
  const flags = flagsOf(command.options);
  const { args, given, waiting, passing } = read(flags, before);
  if (waiting) return { ...valuesOf(waiting, "", current), given };
  if (passing && command.passesRest) return { words: [], kind: "file", given };
  const [, long] = passing ? [] : (/^--([^=]+)=/.exec(current) ?? []);
  const flag = flags.find((one) => one.long === long);
  if (long !== undefined)
    return flag?.placeholder === undefined
      ? { words: [], given }
      : { ...valuesOf(flag, `--${long}=`, current), given };
  if (current.startsWith("-") && !passing) {
    const left = flags.filter((one) => !given.has(one.long) || one.field[Kind] === "Array");
    const words = left.map((one) => [`--${one.long}`, flagSentence(one.field)] as const);
    return { words: [...words, HELP], given };
  }
  const words = choicesOf(command.usage, args.length).map((word) => [word, ""] as const);
  const kind = words.length > 0 ? undefined : command.completes?.(args);
  return { words, given, ...(kind === undefined ? {} : { kind }) };
}

/** What is on the line before the cursor. `waiting` is a flag whose value is at the cursor. */
function read(flags: readonly Flag[], before: readonly string[]) {
  const args: string[] = [];
  const given = new Map<string, string>();
  let waiting: Flag | undefined;
  let passing = false;
  for (const word of before) {
    const [, long, value] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    const short = /^-([^-])/.exec(word)?.[1];
    if (waiting) {
      given.set(waiting.long, word);
      waiting = undefined;
    } else if (passing || (long === undefined && short === undefined && word !== "--"))
      args.push(word);
    else if (word === "--") passing = true;
    else {
      const flag = flags.find((one) => one.long === long || one.short === (short ?? "-"));
      if (!flag) continue;
      const inline = value ?? (short !== undefined && word.length > 2 ? word.slice(2) : undefined);
      given.set(flag.long, inline ?? "");
      if (flag.placeholder !== undefined && inline === undefined) waiting = flag;
    }
  }
  return { args, given, waiting, passing };
}

const KINDS: Readonly<Record<string, Completed>> = {
  file: "file",
  path: "file",
  pattern: "file",
  dir: "folder",
  folder: "folder",
  "file#function": "function",
};

function valuesOf(
  { field, placeholder }: Flag,
  prefix: string,
  current: string,
): Omit<Offer, "given"> {
  const choices = (field["anyOf"] as TSchema[] | undefined)?.map((one) => String(one["const"]));
  const parts = field["listOf"] as readonly string[] | undefined;
  const values = parts ? listed(parts, current.slice(prefix.length)) : (choices ?? []);
  const words = values.map((value) => [`${prefix}${value}`, ""] as const);
  // Whatever RFAAS_NODE stands for is the address of a node.
  const kind = field["variable"] === "RFAAS_NODE" ? "address" : KINDS[placeholder ?? ""];
  return { words, prefix, ...(kind === undefined ? {} : { kind }) };
}

/** The list as far as it is written, with each word that it lacks behind it. */
function listed(parts: readonly string[], written: string): string[] {
  const before = written.slice(0, written.lastIndexOf(",") + 1);
  const there = before.split(",");
  return parts.filter((part) => !there.includes(part)).map((part) => before + part);
}

/** Of the argument at this place, what the usage lists: `<ls|rm>`. */
function choicesOf(usage: string, place: number): string[] {
  const argument = usage.split(" ")[place + 1] ?? "";
  return /^[<[][a-z]+(?:\|[a-z]+)+[>\]]$/.test(argument) ? argument.slice(1, -1).split("|") : [];
}
