import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";

const ROOT = join(import.meta.dir, "..", "..");
const FOLDERS = ["ffi", "src", "build", "bench", "functions"];

const files = new Map(
  FOLDERS.flatMap((folder) =>
    [...new Bun.Glob(`${folder}/**/*.ts`).scanSync(ROOT)].map(
      (path) => [path, readFileSync(join(ROOT, path), "utf8")] as const,
    ),
  ),
);

interface Import {
  from: string;
  /** A path from the root for what is our own, else the name of a package. */
  to: string;
  typeOnly: boolean;
}

const STATEMENT =
  /^[ \t]*(?:import|export)\s+(type\s)?(?:[\w$*{}\s,]*?\sfrom\s*|\s*)["']([^"']+)["']/gm;
const EXPRESSION = /(typeof\s+)?\b(?:import|require)\(\s*["']([^"']+)["']/g;

/** Type-only imports are among them: a type ties two folders together as a value does. */
function importsOf(path: string, source: string): Import[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  return [STATEMENT, EXPRESSION].flatMap((pattern) =>
    [...code.matchAll(pattern)].map(([, type, name]) => ({
      from: path,
      to: name!.startsWith(".") ? relative(ROOT, join(ROOT, dirname(path), name!)) : name!,
      typeOnly: type !== undefined,
    })),
  );
}

const imports = [...files].flatMap(([path, source]) => importsOf(path, source));

/**
 * What each room may import of the others: a room is a folder of `src/`, one of the two files there, or another top folder.
 * An import that the table lacks asks for a place that both rooms may import, or for a line here with its reason.
 */
const CORE = [
  ...[
    "ffi",
    "base",
    "protocol",
    "trust",
    "control",
    "options",
    "codec",
    "schema",
    "library",
    "function",
  ],
  "kinds",
];
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  ffi: [],
  base: ["ffi"],
  protocol: ["base"],
  trust: ["base"],
  control: ["ffi", "base", "protocol", "trust"],
  options: ["base", "control", "protocol"],
  codec: ["base"],
  schema: ["base", "codec"],
  library: ["base"],
  function: ["base", "codec", "schema"],
  kinds: ["base", "codec", "schema", "function", "protocol"],
  fabric: ["ffi", "base", "control", "options", "protocol"],
  package: ["base", "options", "library"],
  lease: [],
  client: [...CORE, "fabric", "package", "lease"],
  // A module of a function may use the library of the client.
  executor: [...CORE, "fabric", "package", "lease", "functions", "index.ts"],
  manager: ["ffi", "base", "protocol", "trust", "control", "fabric", "lease"],
  doctor: ["ffi", "base", "fabric", "executor"],
  testing: ["ffi", "base", "protocol", "options", "function", "client", "executor"],
  "without-bun": ["base"],
  commands: [
    ...[...CORE, "fabric", "package", "client", "executor", "manager", "doctor", "bench"],
    // What `rfaas run` gives to scripts.
    ...["testing", "index.ts"],
  ],
  "main.ts": ["base", "commands"],
  "index.ts": ["ffi", "base", "protocol", "function", "lease", "fabric", "client"],
};

/** A dozen or so. */
const MAX_FILES = 16;
const MAX_LINES = 400;
/** Longer than this only with a reason. */
const LONG_LINES = 300;
const LONG: Readonly<Record<string, string>> = {
  "src/codec/decoder.ts":
    "one loop over the forms of MessagePack, hot: a call between its halves would cost",
  "src/client/lease/lease.ts": "the interface that programs see, most of it docstrings",
  "src/client/functions/value-function.ts":
    "a call on a value, awaited and on the spot, shares its state",
  "bench/scenarios/latency.ts": "a scenario is one file: options, columns, run",
  "src/client/cluster/gathering.ts": "one state machine",
  "src/client/cluster/manager-link.ts": "one state machine",
  "src/client/cluster/node.ts": "all that a client does with one node, and what it knows of it",
  "src/executor/admission/waiting-line.ts": "one state machine",
  "bench/scenarios/throughput.ts": "a scenario is one file: options, columns, run",
  "src/executor/agent/agent.ts": "what a node is told and asked, each a line or two",
  "src/executor/agent/leased-host.ts": "one state machine",
  "src/executor/accounts/journal.ts": "when one file is made, written, synced and written anew",
  "src/executor/agent/lease-table.ts": "every request about a lease that is held, each a few lines",
  "src/executor/agent/granting.ts": "the steps of one grant, in their order",
  "src/executor/host/hosted-lease.ts": "what the host's machine orders, in one place",
  "src/client/node/connection.ts": "all that a client and a node say to each other",
  "src/client/lease/part.ts":
    "one lease on one node: its memory, calls and term have files of their own",
  "src/executor/packages/cache.ts": "the layout of the cache's folder, which several nodes share",
  "src/executor/accounts/manager-link.ts": "one state machine",
  "src/manager/nodes/registry.ts": "one state machine",
  "src/manager/ledger/ledger.ts": "every question to one database",
  "src/protocol/manager-messages.ts": "all that a manager, its nodes and its clients say",
  "src/options/fields.ts": "every kind of option, for who makes one",
  "src/manager/peers/node-desk.ts": "all that a node and its manager say to each other",
  "src/commands/serve.ts": "one command: its options, its manual, and the parts that it joins",
  "src/commands/token.ts": "one command: its options, its manual, and its verbs",
  "src/fabric/verbs/devices.ts": "what /sys/class/infiniband says, in one reader",
  "src/protocol/token.ts": "one format, written and read",
  "src/base/errors.ts": "every error, for the reader who looks one up",
  "src/library/elf.ts": "one file format",
  "src/client/memory/lease-memory.ts": "what is allocated, and what calls use of it, in one place",
  "src/client/map/mapping.ts": "one iteration, whose parts share its state",
  "src/client/batches/batch.ts": "many calls in one object, whose methods share its state",
  "src/client/lease/joined-lease.ts": "every method of a lease, each a line or two",
  "src/package/bundle/bundle.ts": "the steps of one build, in their order",
};

function roomOf(path: string): string | undefined {
  const [top, room] = path.split("/");
  return top === "src" ? room : top;
}

/** A registry knows the folders of all implementations, which know the interface beside it: it is a room of its own. */
const folderOf = (path: string): string =>
  dirname(path) === "src" || basename(path) === "registry.ts" ? path : dirname(path);

/** The groups of those that can be reached from each other. */
function circles(edges: readonly { from: string; to: string }[]): string[][] {
  const next = new Map<string, Set<string>>();
  for (const { from, to } of edges) next.set(from, (next.get(from) ?? new Set()).add(to));
  const reachable = new Map(
    [...next.keys()].map((start) => {
      const reached = new Set<string>();
      const waiting = [start];
      for (let at = waiting.pop(); at !== undefined; at = waiting.pop())
        for (const to of next.get(at) ?? [])
          if (!reached.has(to)) {
            reached.add(to);
            waiting.push(to);
          }
      return [start, reached] as const;
    }),
  );
  const groups = [...reachable]
    .filter(([start, reached]) => reached.has(start))
    .map(([start, reached]) =>
      [...reached].filter((to) => reachable.get(to)?.has(start)).toSorted(),
    );
  return [...new Map(groups.map((group) => [group.join(" "), group])).values()];
}

const within = (path: string, ...folders: string[]): boolean =>
  folders.some((folder) => path === folder || path.startsWith(`${folder}/`));

/** What breaks a rule, as `importer -> imported`. */
function violations(broken: (edge: Import) => boolean): string[] {
  return imports.filter(broken).map(({ from, to }) => `${from} -> ${to}`);
}

const filesThat = (has: (source: string, path: string) => boolean): string[] =>
  [...files].filter(([path, source]) => has(source, path)).map(([path]) => path);

test("what a node starts for itself is told from what functions start", () => {
  const starters = filesThat(
    (source, path) =>
      within(path, "src/executor", "src/package") &&
      /Bun\.spawn\(|child_process/.test(source) &&
      !source.includes("keepChild("),
  );
  expect(starters).toEqual([]);
});

test("the scan sees imports of every kind", () => {
  const source = `import "a";
    import b from "b";
    import type { C } from './c.ts';
    import {
      d,
      type E,
    } from "../ffi/d.ts";
    export * from "f";
    export { g } from "g";
    // import "comment";
    /** import "comment"; */
    const h = "from"; const i = "x";
    const j = await import("./j.ts");
    type K = typeof import("./k.ts");`;
  const seen = importsOf("src/x.ts", source).map(({ to, typeOnly }) => (typeOnly ? [to] : to));
  expect(seen).toEqual(["a", "b", ["src/c.ts"], "ffi/d.ts", "f", "g", "src/j.ts", ["src/k.ts"]]);
  expect(imports.length).toBeGreaterThan(150);
});

test("every import of our own names a file that is there", () => {
  const built = ["package.json", "ffi/build/librfaas.so", "dist/kit.json.zst"];
  expect(
    violations(
      ({ to }) =>
        // A template names files of its own.
        within(to, ...FOLDERS, "dist") &&
        !files.has(to) &&
        !existsSync(join(ROOT, to)) &&
        !built.includes(to) &&
        !to.includes("${"),
    ),
  ).toEqual([]);
});

describe("the directions of imports", () => {
  test("only ffi/ opens native libraries", () => {
    expect(violations(({ from, to }) => to === "bun:ffi" && !within(from, "ffi"))).toEqual([]);
  });

  test("ffi/ knows nothing of src/, bench/ and functions/", () => {
    expect(
      violations(({ from, to }) => within(from, "ffi") && within(to, "src", "bench", "functions")),
    ).toEqual([]);
  });

  test("what Node gets imports errors alone", () => {
    const elsewhere = ({ from, to }: Import) =>
      within(from, "src/without-bun") && to !== "src/base/errors.ts";
    expect(violations(elsewhere)).toEqual([]);
  });

  test("leases and the protocol do no input or output", () => {
    const pure = ["src/lease", "src/protocol", "src/base/errors.ts", "src/base/error"];
    // Signing and checking signatures is computing.
    const packages = ["@sinclair/typebox", "msgpackr", "node:crypto", "jose"];
    expect(
      violations(({ from, to }) => within(from, ...pure) && !within(to, ...pure, ...packages)),
    ).toEqual([]);
    const reaches = /\b(?:Bun|process|performance|console)\.|\bDate\b|\bsetTimeout\b|\bfetch\(/;
    expect(filesThat((source, path) => within(path, ...pure) && reaches.test(source))).toEqual([]);
  });

  test.each(Object.entries(MAY_IMPORT))("%s imports of our own only %j", (room, allowed) => {
    expect([...files.keys()].filter((path) => roomOf(path) === room)).not.toEqual([]);
    const elsewhere = ({ from, to }: Import) =>
      roomOf(from) === room && files.has(to) && ![room, ...allowed].includes(roomOf(to)!);
    expect(violations(elsewhere)).toEqual([]);
  });

  test("every folder of src/ is a room that the table names", () => {
    const rooms = new Set([...files.keys()].filter((path) => within(path, "src")).map(roomOf));
    expect([...rooms].filter((room) => !(room! in MAY_IMPORT))).toEqual([]);
  });

  test("no files import each other in a circle, not even for types", () => {
    expect(circles(imports)).toEqual([]);
  });

  test("no folders import each other back and forth", () => {
    const between = imports
      .filter(({ to }) => files.has(to))
      .map(({ from, to }) => ({ from: folderOf(from), to: folderOf(to) }))
      .filter(({ from, to }) => from !== to);
    expect(circles(between)).toEqual([]);
  });
});

test("folders of the client import only what comes before them in its README", () => {
  const readme = readFileSync(join(ROOT, "src/client/README.md"), "utf8");
  const listed = [...readme.matchAll(/^\| `(\S+)\/` /gm)].map(([, name]) => name!);
  const rank = (path: string): number => {
    const folder = relative("src/client", dirname(path));
    return listed.indexOf(folder === "" ? "." : folder);
  };
  const ours = [...files.keys()].filter((path) => within(path, "src/client"));
  expect(ours.filter((path) => rank(path) < 0)).toEqual([]);
  expect(
    violations(
      ({ from, to }) => within(from, "src/client") && ours.includes(to) && rank(to) > rank(from),
    ),
  ).toEqual([]);
});

describe("READMEs", () => {
  const pages = [
    ...["ffi", "bench", "build"].map((folder) => `${folder}/README.md`),
    ...new Bun.Glob("src/**/README.md").scanSync(ROOT),
  ];
  const paths = [...new Bun.Glob("{src,ffi,bench,build,test}/**/*.{ts,c,h}").scanSync(ROOT)].filter(
    (path) => !path.includes("node_modules"),
  );

  test("are in every room", () => {
    const rooms = Object.keys(MAY_IMPORT).filter((room) => !room.endsWith(".ts") && room !== "ffi");
    expect(rooms.filter((room) => !pages.includes(`src/${room}/README.md`))).toEqual([]);
  });

  test.each(pages)("%s names files that are there", (page) => {
    const text = readFileSync(join(ROOT, page), "utf8");
    const named = [...text.matchAll(/`([\w./-]+\.(?:ts|c|h))`/g)].map(([, path]) => path!);
    // NAME stands for a file that the reader is to make.
    const gone = named.filter(
      (path) => !path.includes("NAME") && !paths.some((there) => `/${there}`.endsWith(`/${path}`)),
    );
    expect(gone).toEqual([]);
  });
});

describe("rooms", () => {
  test("are no halls", () => {
    const counts = new Map<string, number>();
    for (const folder of ["src", "ffi", "bench", "build"])
      for (const path of new Bun.Glob(`${folder}/**/*`).scanSync(ROOT))
        counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1);
    expect([...counts].filter(([, count]) => count > MAX_FILES)).toEqual([]);
  });

  test("are all there is in src/, but for its two entrances", () => {
    const loose = [...files.keys()].filter((path) => dirname(path) === "src");
    expect(loose.toSorted()).toEqual(["src/index.ts", "src/main.ts"]);
  });

  test("have no file that is too long, nor a long one without a reason, nor a reason too many", () => {
    const lines = (source: string): number => source.split("\n").length - 1;
    const longer = (limit: number): string[] =>
      [...files].filter(([, source]) => lines(source) > limit).map(([path]) => path);
    expect(longer(MAX_LINES)).toEqual([]);
    expect(longer(LONG_LINES).toSorted()).toEqual(Object.keys(LONG).toSorted());
  });
});

describe("what is said in one place only", () => {
  test("threads are started in src/base/workers.ts", () => {
    expect(filesThat((source) => source.includes("new Worker("))).toEqual(["src/base/workers.ts"]);
  });

  test("the program finds its own executable in src/base/program/form.ts", () => {
    // A script of `rfaas run` is told it, as the first word of its arguments.
    const found = filesThat(
      (source, path) => /\bexecPath\b/.test(source) && !within(path, "src/commands/run"),
    );
    expect(found).toEqual(["src/base/program/form.ts"]);
  });

  test("console.log is for the demonstration: stdout carries data", () => {
    // A new project's client is a program of its own.
    const programs = ["bench/demo", "src/commands/new/project.ts"];
    const found = filesThat((source) => source.includes("console.log"));
    expect(found.filter((path) => !within(path, ...programs))).toEqual([]);
  });
});

test("what starts as fast as Bun does imports nothing that takes time to load", () => {
  const seen = new Set(["src/main.ts", "src/commands/run/script.ts"]);
  for (const from of seen)
    for (const [, type, to] of (files.get(from) ?? "").matchAll(STATEMENT))
      if (type === undefined)
        seen.add(to!.startsWith(".") ? relative(ROOT, join(ROOT, dirname(from), to!)) : to!);
  expect([...seen].toSorted()).toEqual([
    ...["bun", "package.json", "src/base/version.ts", "src/commands/run/modules.ts"],
    ...["src/commands/run/script.ts", "src/executor/modules/provide.ts", "src/main.ts"],
  ]);
});

describe("the data path", () => {
  const hot = [...files.keys()].filter((path) => path.endsWith(".datapath.ts"));

  test("neither logs nor throws", () => {
    expect(hot).not.toEqual([]);
    for (const path of hot) expect(files.get(path)).not.toMatch(/console\.|throw /);
  });

  test("assigns no constant of its module to a variable, which the engine would then take for one of any type", () => {
    for (const path of hot) expect(files.get(path)).not.toMatch(/^\s*\w+ = [A-Z][A-Z0-9_]*;/m);
  });
});
