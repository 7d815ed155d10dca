/** Help that reads like a manual page, made from the command tree. */
import { flagSentence } from "../../options/describe.ts";
import { flagsOf, usageOf } from "../../options/flags.ts";
import { type Command, nameOf } from "./command.ts";

const ENVIRONMENT: readonly [string, string][] = [
  ["RFAAS_NODE", "the node to use where --node is not given"],
  ["RFAAS_MANAGER", "the manager whose nodes to use where none is named"],
  ["RFAAS_HTTP", "the manager's HTTP interface, for node and bill"],
  ["RFAAS_TOKEN", "the token to show to nodes and to the manager"],
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

type Section = readonly [title: string, lines: readonly string[]];

/** On every page. */
const COMMON: readonly Section[] = [
  ["ENVIRONMENT", pairs(ENVIRONMENT)],
  ["EXIT STATUS", pairs(EXIT_STATUS)],
];
const SEE_ALSO: readonly Section[] = [["SEE ALSO", ["rfaas help"]]];

export function overview(commands: readonly Command[]): string {
  return page([
    ["NAME", ["rfaas - call functions on leased cores, in less than a microsecond"]],
    ["SYNOPSIS", ["rfaas COMMAND [OPTIONS]", "rfaas help COMMAND", "rfaas --version"]],
    ["COMMANDS", pairs(commands.map((command) => [nameOf(command), command.summary]))],
    ...COMMON,
    [
      "EXAMPLES",
      pairs([
        ["rfaas invoke fn.ts#double --json 21", "call a function of your own, on a private node"],
        ["rfaas bench latency", "how fast a call is on this machine"],
        ["rfaas doctor", "what this machine can do"],
      ]),
    ],
  ]);
}

/** The page of a command. Its `own` sections are those that no other page has. */
export function manual(command: Command, sections: "all" | "own" = "all"): string {
  const name = nameOf(command);
  const flags = flagsOf(command.options);
  const shown: Section[] = [
    ["NAME", [`rfaas ${name} - ${command.summary}`]],
    ["SYNOPSIS", [`rfaas ${command.usage}${flags.length > 0 ? " [OPTIONS]" : ""}`]],
    ["DESCRIPTION", command.description.split("\n")],
    ["OPTIONS", pairs(flags.map((flag) => [usageOf(flag), flagSentence(flag.field)]))],
    ...(sections === "own" ? [] : COMMON),
    ["EXAMPLES", pairs(command.examples)],
    ...(sections === "own" ? [] : SEE_ALSO),
  ];
  return page(shown.filter(([, lines]) => lines.length > 0));
}

function page(sections: readonly Section[]): string {
  const shown = sections.map(
    ([title, lines]) => `${title}\n${lines.map((line) => (line ? `    ${line}` : "")).join("\n")}`,
  );
  return `${shown.join("\n\n")}\n`;
}

function pairs(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.min(30, Math.max(0, ...rows.map(([left]) => left.length)));
  return rows.flatMap(([left, right]) =>
    left.length > width
      ? [left, `${" ".repeat(width)}  ${right}`]
      : [`${left.padEnd(width)}  ${right}`],
  );
}
