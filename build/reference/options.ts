/** The reference of the library's options: a table for each options object, written from its schema. */
import { Kind, OptionalKind, type TObject, type TSchema } from "@sinclair/typebox";
import * as allocating from "../../src/client/options/allocate-options.ts";
import * as calling from "../../src/client/options/call-options.ts";
import * as connecting from "../../src/client/options/connect-options.ts";
import { fabrics } from "../../src/fabric/registry.ts";
import { programDefault, valueOf } from "../../src/options/describe.ts";
import { flagsOf } from "../../src/options/flags.ts";
import * as testing from "../../src/testing/test-options.ts";
import { docstringOf } from "./docstrings.ts";

/** Every options object of the library, by the name of its type. */
export const OPTIONS: readonly (readonly [name: string, schema: TObject])[] = [
  ...[connecting, allocating, calling, testing].flatMap((module) =>
    Object.entries(module as Record<string, unknown>).filter(isSchema),
  ),
  ...fabrics.flatMap(({ name, options }) =>
    options ? [[`${name[0]!.toUpperCase()}${name.slice(1)}Options`, options] as const] : [],
  ),
];

export function optionsPage(): string {
  return `${[
    "# Options",
    `What calls of the library take beside their arguments, as their schemas have it (written by \`bun run build/reference.ts\`). An option
that is unknown or out of bounds is refused with a \`UsageError\`, whose \`path\` names it. Options with a flag are on the command line, too.`,
    ...OPTIONS.flatMap(([name, schema]) => sectionOf(name, schema)),
  ].join("\n\n")}\n`;
}

function sectionOf(name: string, schema: TObject): string[] {
  const call = schema["call"] as string | undefined;
  return [
    `## ${name}`,
    `${schema.title}${call === undefined ? "" : `: \`${call}\``}.`,
    [
      "| option | what it is | value | default | flag |",
      "| ------ | ---------- | ----- | ------- | ---- |",
      ...rowsOf(schema, ""),
    ].join("\n"),
  ];
}

/** A row for each option; those of an object within follow it. */
function rowsOf(schema: TObject, within: string): string[] {
  return flagsOf(schema).flatMap(({ name, long, field }) => [
    row([
      `\`${within}${name}\``,
      sentenceOf(name, field),
      valueOf(field),
      field[OptionalKind] === undefined ? "needed" : programDefault(field),
      field["flag"] === true ? `\`--${long}\`` : "",
    ]),
    ...(field[Kind] === "Object" ? rowsOf(field as TObject, `${within}${name}.`) : []),
  ]);
}

/** The docstring, without the defaults, which have a column; else the field's own sentence. */
function sentenceOf(name: string, field: TSchema): string {
  const text = docstringOf(name, field)?.replace(/ ?\bDefault:? [^]*?(?:\.(?= |$)|$)/, "");
  const { description = "" } = field;
  return text || `${description.charAt(0).toUpperCase()}${description.slice(1)}.`;
}

const row = (cells: readonly string[]): string =>
  `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;

function isSchema(entry: [string, unknown]): entry is [string, TObject] {
  const schema = entry[1] as Partial<TSchema> | null;
  return typeof schema === "object" && schema !== null && schema[Kind] === "Object";
}
