/** The declarations that programs get: the public types alone, and of values only those that are there at run time. */
import { beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { ENTRIES, declarations } from "../../build/library/declarations.ts";
import { ROOT } from "../support/executable.ts";

let files: Record<string, string> = {};
beforeAll(async () => {
  files = await declarations();
}, 120_000);

/** The names that an entry hands on, as values or as types only. */
function exported(code: string): { values: string[]; types: string[] } {
  const names = [...code.matchAll(/^export \{(.*)\} from/gm)].flatMap(([, list]) =>
    list!.split(",").map((name) => name.trim()),
  );
  const last = (name: string) => name.split(" ").at(-1)!;
  return {
    values: names.filter((name) => !name.startsWith("type ")).map(last),
    types: names.filter((name) => name.startsWith("type ")).map(last),
  };
}

test("there is a file for each entry, and one for what they share", () => {
  const entries = Object.keys(ENTRIES).map((name) => `${name}.d.ts`);
  expect(Object.keys(files).toSorted()).toEqual([...entries, "types.d.ts"].toSorted());
});

test.each(Object.entries(ENTRIES))(
  "%s declares as values what it has at run time",
  async (name, path) => {
    const { values, types } = exported(files[`${name}.d.ts`]!);
    const entry = (await import(join(ROOT, path))) as object;
    expect(values.toSorted()).toEqual(Object.keys(entry).toSorted());
    expect(types).not.toEqual([]);
  },
);

test("what the entries declare is imported from each other and from TypeBox alone", () => {
  const code = Object.values(files)
    .join("\n")
    .replaceAll(/\/\*[^]*?\*\//g, "");
  const imported = [...code.matchAll(/(?:from|import\(|^import) ?['"]([^'"]+)['"]/gm)].map(
    ([, from]) => from!,
  );
  expect([...new Set(imported)].toSorted()).toEqual(["./types.js", "@sinclair/typebox"]);
});

test("no class is declared but errors, and what is marked @internal is left out", () => {
  const shared = files["types.d.ts"]!;
  expect(shared).not.toContain("@internal");
  const classes = [...shared.matchAll(/^declare (?:abstract )?class (\w+)(?:<.*>)? (.*)\{$/gm)];
  const others = classes.filter(
    ([, , base]) => !/extends (?:Error|RfaasError|PeerNotTrusted|\w+Lost) /.test(base!),
  );
  expect(classes.length).toBeGreaterThan(20);
  expect(others.map(([, name]) => name)).toEqual(["Struct", "TestWorker"]);
});

test("no part of a fabric, of a node or of the shim is declared", () => {
  const declared = [
    ...files["types.d.ts"]!.matchAll(/^(?:declare )?(?:\w+ )+?(\w+)(?:<|:| =| \{)/gm),
  ];
  const names = declared.map(([, name]) => name!);
  expect(names).toContain("FabricName");
  expect(
    names.filter((name) => /Region(?:Shape)?$|Endpoint|Fabric$|Offer|Counter/.test(name)),
  ).toEqual(["RemoteRegion"]);
});
