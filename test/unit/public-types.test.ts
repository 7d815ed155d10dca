/** What a program can reach from what the library exports, by types: declarations are followed by the names in them. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const ROOT = join(import.meta.dir, "..", "..");

interface Declaration {
  readonly kind: string;
  /** With its description; of a function and of a class without the bodies. */
  text: string;
}

interface Source {
  readonly declarations: ReadonlyMap<string, Declaration>;
  /** What is imported, or handed on: by the name that it has here. */
  readonly imported: ReadonlyMap<string, { path: string; name: string }>;
  /** Files of which everything is handed on. */
  readonly all: readonly string[];
}

const STATEMENT =
  /^(?:export )?(?:declare )?(?:abstract )?(?:async )?(class|interface|type|const|function) (\w+)/;
const FROM = /^(?:import|export) (?:type )?(\*|\{[^}]*\}) from "(\.[^"]+)"/gm;

/** A class without what is private and without the bodies of its methods; a function without its body. */
function signatures(kind: string, text: string): string {
  if (kind === "function") return text.replace(/ \{\n(?:.*\n)*?\}$/m, "");
  if (kind !== "class") return text;
  return text
    .split("\n")
    .filter((line) => !/^ {4,}/.test(line) || /^ {4}[\w.]+\??: /.test(line))
    .filter((line) => !/^  (?:static |readonly |private |protected )*(?:async )?#/.test(line))
    .join("\n");
}

const sources = new Map<string, Source>();
function read(path: string): Source {
  const known = sources.get(path);
  if (known) return known;
  const code = readFileSync(join(ROOT, path), "utf8");
  const declarations = new Map<string, Declaration>();
  const at = (name: string) => relative(ROOT, join(ROOT, dirname(path), name));
  // Statements begin at the margin, with their descriptions.
  for (const piece of code.split(
    /\n(?=\/\*\*|(?<!\*\/\n)(?:export|const|class|interface|type|function|abstract) )/,
  )) {
    const statement = piece.replace(/^\/\*\*[^]*?\*\/\n/, "");
    const [, kind, name] = STATEMENT.exec(statement) ?? [];
    if (kind === undefined || name === undefined) continue;
    const before = declarations.get(name)?.text ?? "";
    declarations.set(name, { kind, text: `${before}\n${signatures(kind, piece)}` });
  }
  const imported = new Map<string, { path: string; name: string }>();
  const all: string[] = [];
  for (const [, names, from] of code.matchAll(FROM)) {
    if (names === "*") all.push(at(from!));
    else
      for (const one of names!.slice(1, -1).split(",")) {
        const [name = "", as = name] = one
          .trim()
          .replace(/^type /, "")
          .split(" as ");
        if (name !== "") imported.set(as, { path: at(from!), name });
      }
  }
  const source = { declarations, imported, all };
  sources.set(path, source);
  return source;
}

/** Everything that declarations of a file lead to: `path name`, and what it is. */
function reachableFrom(path: string, names?: readonly string[]): Map<string, Declaration> {
  const reached = new Map<string, Declaration>();
  const visit = (from: string, name: string): void => {
    const { declarations, imported } = read(from);
    const declaration = declarations.get(name);
    const elsewhere = imported.get(name);
    if (declaration === undefined) {
      if (elsewhere) visit(elsewhere.path, elsewhere.name);
      return;
    }
    const key = `${from} ${name}`;
    if (reached.has(key)) return;
    reached.set(key, declaration);
    // Of `(typeof list)[number]["name"]` there are only the names.
    const code = declaration.text.replaceAll(/\/\*[^]*?\*\/|"[^"\n]*"|\(typeof \w+\)\[/g, "");
    for (const [word] of code.matchAll(/\b[A-Za-z_]\w*\b/g)) {
      // What a constant is made with is no part of its type: of other files only types and schemas are.
      const isMeans = declaration.kind === "const" && /^[a-z]/.test(word);
      if (!isMeans || declarations.has(word)) visit(from, word);
    }
  };
  const { declarations, imported, all } = read(path);
  for (const name of names ?? [...declarations.keys(), ...imported.keys()]) visit(path, name);
  for (const file of all) for (const name of read(file).declarations.keys()) visit(file, name);
  return reached;
}

const PUBLIC = reachableFrom("src/index.ts");

test("the types of the library are followed into the files that declare them", () => {
  const found = [
    "src/client/invoker.ts invoker",
    "src/client/cluster/invoker.ts Invoker",
    "src/client/lease/lease.ts Lease",
    "src/client/events/lease-event.ts LeaseEvent",
    "src/client/calls/public-call.ts PublicCall",
    "src/client/options/call-options.ts SubmitOptions",
    "src/client/memory/registrations.ts Registration",
    "src/client/functions/struct-function.ts StructSlot",
    "src/base/errors.ts LeaseLost",
  ];
  expect(found.filter((name) => !PUBLIC.has(name))).toEqual([]);
  expect(PUBLIC.size).toBeGreaterThan(80);
});

test("a program reaches nothing that is marked @internal", () => {
  const marked = [...PUBLIC].filter(([, { text }]) => text.includes("@internal"));
  expect(marked.map(([name]) => name)).toEqual([]);
});

test("a program reaches no class of the library but errors, so that it can only use what an interface says", () => {
  const classes = [...PUBLIC].filter(([, { kind }]) => kind === "class").map(([name]) => name);
  expect(classes.length).toBeGreaterThan(20);
  // What `struct` makes is an author's: it is handed to us, not by us.
  const known = (name: string) =>
    /^src\/base\/(?:errors\.ts|error\/\S+) /.test(name) || name === "src/codec/struct.ts Struct";
  expect(classes.filter((name) => !known(name))).toEqual([]);
});

test("what is marked, and what leads to a class, would be found", () => {
  const internals = reachableFrom("src/testing/test-worker.ts", ["TestWorker"]);
  expect([...internals.values()].some(({ text }) => text.includes("@internal"))).toBe(true);
  const parts = reachableFrom("src/client/cluster/gathering.ts", ["Gathered"]);
  expect(parts.get("src/client/lease/part.ts PartLease")?.kind).toBe("class");
});
