/** Counts what runs of chosen sources: counters of branches, functions and statements, put in as they are loaded. */
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { createInstrumenter } from "istanbul-lib-instrument";
import type { FileCoverageData } from "istanbul-lib-coverage";

const ROOT = join(import.meta.dir, "..", "..", "..");
const GENERATED = join(ROOT, "generated");
const instrumenter = createInstrumenter({
  esModules: true,
  compact: false,
  coverageGlobalScope: "globalThis",
  coverageGlobalScopeFunc: false,
  parserPlugins: ["typescript", "explicitResourceManagement"],
});

/** From then on these files, by their paths from the root, are loaded with counters. */
export function instrument(paths: readonly string[]): void {
  const files = new Set(paths.map((path) => join(ROOT, path)));
  Bun.plugin({
    name: "counters",
    setup(build) {
      build.onLoad({ filter: /\/(?:src|planted)\/.*\.ts$/ }, async ({ path }) => {
        const source = await Bun.file(path).text();
        const contents = files.has(path) ? instrumenter.instrumentSync(source, path) : source;
        return { contents, loader: "ts" };
      });
    },
  });
}

/** From then on code that a program makes gets counters, too: the parsers of shapes and the checks of schemas are such. */
export function instrumentGenerated(): void {
  const Plain = Function;
  let made = 0;
  const Counting = function (...parts: string[]): unknown {
    const body = parts.pop() ?? "";
    const code = `(function (${parts.join()}) { ${body} })`;
    // oxlint-disable-next-line no-eval -- it is code that the program would have run
    return (0, eval)(instrumenter.instrumentSync(code, join(GENERATED, `${made++}.js`)));
  };
  globalThis.Function = Object.assign(Counting, {
    prototype: Plain.prototype,
  }) as unknown as FunctionConstructor;
}

/** A way that the sources may take, and where it begins. */
export interface Branch {
  index: number;
  /** `src/library/elf.ts:120 if 1` */
  place: string;
}

type Loaded = FileCoverageData & { branchMap: Record<string, { type: string; line: number }> };

/** The counters of all files that were loaded with some. */
export class Counters {
  /** Of branches first, then of functions and statements. */
  readonly counts: Uint32Array;
  /** Those of the files, without those that are excepted. */
  readonly branches: readonly Branch[];
  /** How many are excepted. */
  readonly excepted: number;

  /** `except` has names of functions, and parts of lines: no input reaches what is in such a function, or begins in such a line. */
  constructor(except: readonly string[]) {
    const loaded = Object.values(
      (globalThis as { __coverage__?: Record<string, Loaded> }).__coverage__ ?? {},
    );
    const sizes = loaded.flatMap(({ b, f, s }) => [
      ...Object.values(b).map(({ length }) => length),
      Object.keys(f).length + Object.keys(s).length,
    ]);
    this.counts = new Uint32Array(sizes.reduce((sum, size) => sum + size, 0));
    const found: Branch[] = [];
    let excepted = 0;
    let at = 0;
    // The code counts in what it finds there: parts of one array, which can be read at once.
    const part = (length: number) => this.counts.subarray(at, (at += length)) as unknown;
    for (const file of loaded) {
      const isExcepted = exceptions(file, except);
      for (const [id, ways] of Object.entries(file.b)) {
        const { type, line } = file.branchMap[id]!;
        const place = `${relative(ROOT, file.path)}:${line} ${type}`;
        if (isExcepted(line)) excepted += ways.length;
        else if (!file.path.startsWith(GENERATED))
          found.push(...ways.map((_, i) => ({ index: at + i, place: `${place} ${i}` })));
        file.b[id] = part(ways.length) as number[];
      }
      file.f = part(Object.keys(file.f).length) as FileCoverageData["f"];
      file.s = part(Object.keys(file.s).length) as FileCoverageData["s"];
    }
    this.branches = found;
    this.excepted = excepted;
  }
}

/** Which lines of a file are excepted. */
function exceptions({ path, fnMap }: Loaded, except: readonly string[]): (line: number) => boolean {
  if (path.startsWith(GENERATED)) return () => false;
  const lines = readFileSync(path, "utf8").split("\n");
  const named = Object.values(fnMap).filter(({ decl }) => {
    const name = /([#\w]+)\s*[(<=]/.exec(lines[decl.start.line - 1]!.slice(0))?.[1];
    return name !== undefined && except.includes(name);
  });
  return (line) =>
    except.some((text) => !/^\w+$/.test(text) && lines[line - 1]!.includes(text)) ||
    named.some(({ loc, decl }) => decl.start.line <= line && line <= loc.end.line);
}
