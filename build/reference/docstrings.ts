/** Reads the docstrings of fields from the source: the reference shows the same sentences as an editor. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TSchema } from "@sinclair/typebox";

const SRC = join(import.meta.dir, "..", "..", "src");
const FOLDERS = ["client/options", "package", "fabric", "testing"];
const DOCUMENTED = /\/\*\*((?:(?!\*\/)[^])*)\*\/\s*(\w+): /g;

interface Documented {
  name: string;
  text: string;
  /** The source from the field on, up to the next one with a docstring. */
  source: string;
}

let known: Documented[] | undefined;

/** The docstring of a field, on one line; undefined when it has none. */
export function docstringOf(name: string, { description }: TSchema): string | undefined {
  known ??= FOLDERS.flatMap((folder) =>
    [...new Bun.Glob(`${folder}/**/*.ts`).scanSync(SRC)].flatMap((path) =>
      documentedIn(readFileSync(join(SRC, path), "utf8")),
    ),
  );
  const quoted = JSON.stringify(description);
  // A field of the same name that comes later has no docstring of its own.
  const isOf = ({ name: other, source }: Documented): boolean =>
    other === name && source.split(quoted)[0]!.split(`${name}: `).length === 2;
  return known.find((one) => one.source.includes(quoted) && isOf(one))?.text;
}

function documentedIn(source: string): Documented[] {
  const found = [...source.matchAll(DOCUMENTED)];
  return found.map(({ 1: text, 2: name, index }, i) => ({
    name: name!,
    text: text!
      .replace(/^\s*\* ?/gm, " ")
      .replace(/\{@link ([^}]+)\}/g, "`$1`")
      .replace(/\s+/g, " ")
      .trim(),
    source: source.slice(index, found[i + 1]?.index),
  }));
}
