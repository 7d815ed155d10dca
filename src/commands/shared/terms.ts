/** Translates the library's messages into the words of a command: `deadlineMs` becomes `--deadline`. */
import { flagsOf } from "../../options/flags.ts";
import type { Command } from "./command.ts";

/** The message of an error of the library as the command says it. */
export function inTerms({ options, terms = {} }: Command, message: string): string {
  const named = flagsOf(options).reduce(
    (text, { name, long }) => text.replaceAll(asOption(name), `--${long}`),
    message,
  );
  return Object.entries(terms).reduce(
    (text, [term, ours]) =>
      text.replaceAll(new RegExp(`(?<![\\w-])${RegExp.escape(term)}`, "g"), ours),
    named,
  );
}

/** A name with a capital letter is no word of English; any other is an option's only where a message begins with it. */
const asOption = (name: string): RegExp =>
  /[A-Z]/.test(name) ? new RegExp(`(?<![\\w-])${name}\\b`, "g") : new RegExp(`^${name}(?=: )`, "g");
