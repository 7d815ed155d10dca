/**
 * The man pages: what `rfaas help` says, as roff, with a page for the program and one for each command, which has its subcommands.
 * They bear the version and no date, so that the same commit makes the same pages.
 */
import { VERSION } from "../../base/version.ts";
import { type Command, nameOf } from "../shared/command.ts";
import { type Block, type Page, type Section, manualPage, overviewPage } from "../shared/manual.ts";

export interface ManPage {
  /** The file's name: `rfaas-serve.1`. */
  name: string;
  section: 1;
  text: string;
}

/** `rfaas.1`, then a page for each command. */
export function manPages(commands: readonly Command[]): ManPage[] {
  const names = commands.map(nameOf);
  return [overviewPage(commands), ...commands.map(manualPage)].map((page) => {
    const title = titleOf(page.command);
    return { name: `${title}.1`, section: 1, text: roff(title, page, names) };
  });
}

const titleOf = (command: string | undefined): string =>
  command === undefined ? "rfaas" : `rfaas-${command}`;

function roff(title: string, page: Page, names: readonly string[]): string {
  const sections = page.sections.filter((one) => one.title !== "SEE ALSO");
  return [
    `.TH ${quoted(title.toUpperCase())} 1 "" ${quoted(`rfaas ${VERSION}`)} ${quoted("rfaas manual")}`,
    // Paths and options are not to be broken, nor lines stretched.
    ".nh",
    ".ad l",
    ...sections.flatMap((section) => sectionOf(title, section)),
    ".SH SEE ALSO",
    seeAlso(page, names).map(reference).join(",\n"),
    "",
  ].join("\n");
}

/** The overview names all pages; a command's page names the overview, and the commands that it mentions. */
function seeAlso({ command, sections }: Page, names: readonly string[]): string[] {
  if (command === undefined) return names.map(titleOf);
  const mentioned = new Set(
    [...JSON.stringify(sections).matchAll(/\brfaas (?:help )?([a-z]+)/g)].map(([, name]) => name),
  );
  const others = names.filter((name) => name !== command && mentioned.has(name));
  return ["rfaas", ...others.map(titleOf)];
}

const reference = (title: string): string => `\\fB${escaped(title)}\\fR(1)`;

function sectionOf(title: string, { title: heading, blocks }: Section): string[] {
  if (heading === "NAME") return [".SH NAME", nameLine(title, blocks)];
  return [
    `.SH ${heading}`,
    ...blocks.flatMap((block, i) => [...(i === 0 ? [] : [".PP"]), ...blockOf(block)]),
  ];
}

/** As `mandb` and `apropos` read it: the page's name, a dash, the summary. */
function nameLine(title: string, [block]: readonly Block[]): string {
  const text = block?.kind === "text" ? block.lines.join(" ") : "";
  return `${escaped(title)} \\- ${escaped(text.slice(text.indexOf(" - ") + 3))}`;
}

function blockOf(block: Block): string[] {
  if (block.kind === "text") return block.lines.map(line);
  if (block.kind === "code") return [".nf", ...block.lines.map(line), ".fi"];
  return block.rows.flatMap(([term, meaning]) => [".TP", termOf(term), line(meaning)]);
}

/** What is typed is bold, what stands for a value is underlined. */
function termOf(term: string): string {
  return term
    .split(/(<[^<>]+>)/)
    .filter((part) => part !== "")
    .map((part) =>
      part.startsWith("<") ? `<\\fI${escaped(part.slice(1, -1))}\\fR>` : `\\fB${escaped(part)}\\fR`,
    )
    .join("");
}

/** A line of text, which must not be taken for a request. */
const line = (text: string): string => (/^[.']/.test(text) ? `\\&${escaped(text)}` : escaped(text));

/** An argument of a request. */
const quoted = (text: string): string => `"${escaped(text)}"`;

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\(rs",
  // As ASCII, so that it can be copied into a shell.
  "-": "\\-",
  "'": "\\(aq",
  '"': "\\(dq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
};

function escaped(text: string): string {
  return text
    .replace(/[-\\'"`^~]/g, (character) => ESCAPES[character]!)
    .replace(/[^\0-\x7f]/gu, (character) => {
      const code = character.codePointAt(0)!.toString(16).toUpperCase();
      return `\\[u${code.padStart(4, "0")}]`;
    });
}
