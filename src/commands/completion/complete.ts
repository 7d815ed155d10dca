/**
 * `rfaas __complete`: what the scripts of the shells ask. Prints how to treat the words (`files`, `folders`, `open` for no space behind),
 * then a word a line. Never fails and says nothing else: it is printed into a prompt. Loads only what the answer needs.
 */
import type { CommandTree } from "../shared/command.ts";
import { forBash, splitLine } from "./bash-words.ts";
import { commandWords, offerFor } from "./offer.ts";
import type { Shell } from "./scripts.ts";
import { LIMIT_MS, type Offer, type Word } from "./word.ts";

const MAX_MEANING = 80;
const PACKAGE = "package:";

interface Answer {
  how: readonly ("files" | "folders" | "open")[];
  words: readonly Word[];
}

/** Answers `words`: the shell, `--`, and what it hands over. */
export async function complete(words: readonly string[], tree: CommandTree): Promise<void> {
  const [shell, , ...rest] = words;
  const text = await answerFor(shell as Shell, rest, tree).catch(() => "");
  process.stdout.write(text, () => process.exit(0));
}

/** The text for the shell. bash hands over its line, and the part of it that it replaces; the others hand over words. */
async function answerFor(
  shell: Shell,
  rest: readonly string[],
  tree: CommandTree,
): Promise<string> {
  const [line = "", replaced = ""] = rest;
  const typed = shell === "bash" ? splitLine(line).words.slice(1) : rest;
  const { how, words } = await answer(tree, typed, shell !== "bash");
  const shown = words.filter(([word]) => !/[\p{Cc}\p{Cf}]/u.test(word));
  const lines =
    shell === "bash"
      ? forBash(
          shown.map(([word]) => word),
          line,
          replaced,
        )
      : shown.map((word) => withMeaning(shell, word));
  return [how.join(" "), ...lines].map((text) => `${text}\n`).join("");
}

/** zsh wants colons of its own, fish a tab. */
function withMeaning(shell: "zsh" | "fish", [word, meaning]: Word): string {
  const short = meaning.replace(/[\p{Cc}\p{Cf}]+/gu, " ").slice(0, MAX_MEANING);
  if (shell === "fish") return short === "" ? word : `${word}\t${short}`;
  const plain = word.replace(/[\\:]/g, "\\$&");
  return short === "" ? plain : `${plain}:${short}`;
}

async function answer(
  tree: CommandTree,
  typed: readonly string[],
  meanings: boolean,
): Promise<Answer> {
  const current = typed.at(-1) ?? "";
  const offer = await offerFor(tree, typed, meanings);
  const { prefix = "", kind } = offer;
  if (kind === undefined) return { how: [], words: offer.words };
  const begun = current.slice(prefix.length);
  const found = await knownWords(offer, begun, () => commandWords(tree, begun, meanings));
  const words = found.words
    .filter(([word]) => word.startsWith(begun))
    .map(([word, meaning]) => [`${prefix}${word}`, meaning] as const);
  return { how: found.how, words: [...offer.words, ...words] };
}

async function knownWords(
  { kind, given }: Offer,
  begun: string,
  commands: () => Promise<Word[]>,
): Promise<Answer> {
  const machine = () => import("./machine-words.ts");
  switch (kind) {
    case "command":
      return { how: [], words: await commands() };
    case "file":
      return { how: ["files"], words: [] };
    case "folder":
      return { how: ["folders"], words: [] };
    case "node":
      return { how: [], words: await inTime((await machine()).nodeWords(given)) };
    case "package":
      return { how: [], words: await packagesBegunWith(begun, given) };
    case "address": {
      if (begun.includes("/")) return { how: ["files"], words: [] };
      const { addressWords, clusterAddressWords } = await machine();
      const words = [...addressWords(), ...(await inTime(clusterAddressWords(given)))];
      return words.length > 0 ? { how: [], words } : { how: ["files"], words };
    }
    case "function": {
      if (begun.startsWith(PACKAGE))
        return { how: ["open"], words: await packagesBegunWith(begun, given) };
      const words = await (await machine()).functionWords(begun);
      // A # may follow the file's name.
      return words ? { how: [], words } : { how: ["files", "open"], words: [] };
    }
    default:
      return { how: [], words: [] };
  }
}

/** `package rm` takes the hash alone, too. */
async function packagesBegunWith(begun: string, given: Offer["given"]): Promise<Word[]> {
  const { packageWords } = await import("./machine-words.ts");
  const words = await inTime(packageWords(given));
  if (!begun.startsWith(PACKAGE)) return words;
  return words.map(([hash, meaning]) => [`${PACKAGE}${hash}`, meaning] as const);
}

/** What is found within the limit; nothing when that fails. */
async function inTime(words: Promise<Word[]>): Promise<Word[]> {
  return await Promise.race([words, Bun.sleep(LIMIT_MS).then(() => [])]).catch(() => []);
}
