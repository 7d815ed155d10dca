/** What the manual says of a command, made from the command tree, and that as text: help reads like a manual page. */
import { flagSentence } from "../../options/describe.ts";
import { flagsOf, usageOf } from "../../options/flags.ts";
import { type Command, nameOf } from "./command.ts";

const ENVIRONMENT: readonly [string, string][] = [
  ["RFAAS_NODE", "the node to use where --node is not given"],
  [
    "RFAAS_MANAGER",
    "the manager whose nodes to use where none is named; several with commas between",
  ],
  ["RFAAS_HTTP", "the manager's HTTP interface, for node and bill"],
  ["RFAAS_TOKEN", "the token to show to nodes and to the manager"],
  ["RFAAS_TOKEN_FILE", "a file with such a token, read again when it changes"],
  [
    "RFAAS_CA",
    "the CA to trust at addresses that pin nothing: sha256:HEX, or its certificate's file",
  ],
  ["RFAAS_JOIN_TOKEN", "the token that lets a node join at its first start"],
  ["RFAAS_REGISTRY", "where a manager keeps what it shares with others, as --registry has it"],
  ["RFAAS_REGISTRY_PASSWORD", "the password of the user in --registry"],
  ["RFAAS_SANDBOX", "what keeps functions of a node apart, as --sandbox names it"],
  ["RFAAS_LIMITS", "how a node bounds the memory of hosts: watch, or cgroup for control groups"],
  ["RFAAS_INSECURE", "1: connect in clear to what is not on this machine, and send it no token"],
  ["RFAAS_LOG", "how much to log on stderr: silent, error, warn, info (default), debug, trace"],
  ["RFAAS_SHIM", "load the native shim from this path"],
  [
    "RFAAS_EXECUTABLE",
    "start nodes and hosts with this executable of rfaas, instead of the one that is installed",
  ],
];

const EXIT_STATUS: readonly [string, string][] = [
  ["0", "done"],
  ["1", "failed: the function threw, the module did not load, the machine cannot"],
  ["2", "wrong usage"],
  ["3", "no executor: the node cannot be reached, is full, or refused"],
  ["4", "the lease or its worker was lost"],
  ["124", "a deadline passed"],
];

/** `code` is a line of the command line, or of a program. */
export type Block =
  | { kind: "text"; lines: readonly string[] }
  | { kind: "code"; lines: readonly string[] }
  | { kind: "pairs"; rows: readonly (readonly [term: string, meaning: string])[] };

export interface Section {
  title: string;
  blocks: readonly Block[];
}

export interface Page {
  /** `serve`; undefined for the overview. */
  command?: string;
  sections: readonly Section[];
}

/** On every page. */
const COMMON: readonly Section[] = [
  section("ENVIRONMENT", pairs(ENVIRONMENT)),
  section("EXIT STATUS", pairs(EXIT_STATUS)),
];
const SEE_ALSO = section("SEE ALSO", lines("text", "rfaas help"));

export const overview = (commands: readonly Command[]): string => asText(overviewPage(commands));

export function overviewPage(commands: readonly Command[]): Page {
  return {
    sections: [
      section(
        "NAME",
        lines("text", "rfaas - call functions on leased cores, in less than a microsecond"),
      ),
      section(
        "SYNOPSIS",
        lines("code", "rfaas COMMAND [OPTIONS]", "rfaas help COMMAND", "rfaas --version"),
      ),
      section("COMMANDS", pairs(commands.map((command) => [nameOf(command), command.summary]))),
      ...COMMON,
      section(
        "EXAMPLES",
        pairs([
          ["rfaas invoke fn.ts#double --json 21", "call a function of your own, on a private node"],
          ["rfaas bench latency", "how fast a call is on this machine"],
          ["rfaas doctor", "what this machine can do"],
        ]),
      ),
    ],
  };
}

/** The page of a command. Its `own` sections are those that no other page has. */
export function manual(command: Command, sections: "all" | "own" = "all"): string {
  const page = manualPage(command);
  if (sections === "all") return asText(page);
  const shared: readonly Section[] = [...COMMON, SEE_ALSO];
  return asText({ ...page, sections: page.sections.filter((one) => !shared.includes(one)) });
}

export function manualPage(command: Command): Page {
  const name = nameOf(command);
  const flags = flagsOf(command.options);
  const sections = [
    section("NAME", lines("text", `rfaas ${name} - ${command.summary}`)),
    section(
      "SYNOPSIS",
      lines("code", `rfaas ${command.usage}${flags.length > 0 ? " [OPTIONS]" : ""}`),
    ),
    section("DESCRIPTION", ...blocksOf(command.description)),
    section("OPTIONS", pairs(flags.map((flag) => [usageOf(flag), flagSentence(flag.field)]))),
    ...COMMON,
    section("EXAMPLES", pairs(command.examples)),
    SEE_ALSO,
  ];
  return { command: name, sections: sections.filter(({ blocks }) => blocks.some(isFilled)) };
}

/** Paragraphs are apart by an empty line. What is indented is a program; columns are words and what they mean. */
function blocksOf(description: string): Block[] {
  return description.split("\n\n").map((paragraph) => {
    const rows = paragraph.split("\n");
    const columns = rows.map((row) => /^(\w+) {2,}(\S.*)$/.exec(row));
    if (rows.every((row) => row.startsWith("    "))) return lines("code", ...rows);
    return columns.every((row) => row !== null)
      ? pairs(columns.map((row) => [row[1]!, row[2]!]))
      : lines("text", ...rows);
  });
}

function asText({ sections }: Page): string {
  const shown = sections.map(({ title, blocks }) => {
    const inside = blocks.map((block) =>
      (block.kind === "pairs" ? columnsOf(block.rows) : block.lines)
        .map((line) => `    ${line}`)
        .join("\n"),
    );
    return `${title}\n${inside.join("\n\n")}`;
  });
  return `${shown.join("\n\n")}\n`;
}

function columnsOf(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.min(30, Math.max(0, ...rows.map(([left]) => left.length)));
  return rows.flatMap(([left, right]) =>
    left.length > width
      ? [left, `${" ".repeat(width)}  ${right}`]
      : [`${left.padEnd(width)}  ${right}`],
  );
}

function section(title: string, ...blocks: readonly Block[]): Section {
  return { title, blocks };
}

function pairs(rows: readonly (readonly [string, string])[]): Block {
  return { kind: "pairs", rows };
}

function lines(kind: "text" | "code", ...texts: readonly string[]): Block {
  return { kind, lines: texts };
}

const isFilled = (block: Block): boolean =>
  (block.kind === "pairs" ? block.rows : block.lines).length > 0;
