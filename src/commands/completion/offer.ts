/**
 * Which words may stand at the cursor, by the command tree. Reads no file and asks no node. The first word is here: a Tab behind `rfaas`
 * loads nothing else; `command-offer.ts` has those of a command.
 */
import type { CommandTree } from "../shared/command.ts";
import { HELP, type Offer, type Word } from "./word.ts";

const NONE: Offer = { words: [], given: new Map() };

/** `typed` are the words behind the program's name; the last one is at the cursor. `meanings` says whether the shell shows them. */
export async function offerFor(
  tree: CommandTree,
  typed: readonly string[],
  meanings: boolean,
): Promise<Offer> {
  const current = typed.at(-1) ?? "";
  const [name, ...before] = typed.slice(0, -1);
  if (name === undefined) return { ...NONE, words: await commandWords(tree, current, meanings) };
  if (!tree.names.includes(name)) return NONE;
  const [command, { offerOf }] = await Promise.all([tree.load(name), import("./command-offer.ts")]);
  const offer = offerOf(command, before, current);
  const words = offer.words.filter(([word]) => word.startsWith(current));
  return { ...offer, words };
}

/** The commands that begin so. Only of these the meaning is loaded. */
export async function commandWords(
  tree: CommandTree,
  current: string,
  meanings: boolean,
): Promise<Word[]> {
  if (current.startsWith("-"))
    return [HELP, ["--version", "show the version"] as const].filter(([word]) =>
      word.startsWith(current),
    );
  const names = tree.names.filter((name) => name.startsWith(current));
  return await Promise.all(
    names.map(async (name) => [name, meanings ? (await tree.load(name)).summary : ""] as const),
  );
}
