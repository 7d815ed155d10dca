/**
 * Finds what the compiler has renamed because two of the modules that it joins use one name for two things. Functions and
 * classes know their names, and programs ask for them: `error.constructor.name`, tables and routes that are named for their classes.
 */
import { resolve } from "node:path";
import type { GraphModule, ModuleGraph } from "./module-graph.ts";

const DECLARED =
  /\b(class|function\s*\*?|var|let|const)\s+([$_\p{ID_Start}][$\p{ID_Continue}]*)(?:\s*=\s*(async\b|function\b|class\b|\(|[$_\p{ID_Start}][$\p{ID_Continue}]*\s*=>))?/gu;

interface Declared {
  module: GraphModule;
  name: string;
  isFunction: boolean;
  isClass: boolean;
}

/**
 * Real paths of modules that must not be joined with the others, so that each class has its own name, and each function of the
 * author's. `code` is joined code in which the text of each of `inputs` follows a comment that names it.
 */
export function renamedModules(
  code: string,
  inputs: readonly string[],
  graph: ModuleGraph,
): string[] {
  const marks = new Map(inputs.map((input) => [`// ${input}`, resolve(input)]));
  const all = [...declarations(code, marks, graph)];
  const bases = new Set<string>();
  for (const { module, name, isClass, isFunction } of all) {
    const base = baseOf(name, module);
    if (base !== name && (isClass || (isFunction && !module.owner))) bases.add(base);
  }
  const apart = new Set<string>();
  for (const base of bases) {
    const paths = new Set<string>();
    for (const { module, name } of all)
      if (name === base || (name.startsWith(base) && baseOf(name, module) === base))
        paths.add(module.path);
    // One may keep it: the module to run, with which everything else would be apart. What is alone clashes with an import.
    const [first] = paths;
    if (paths.size > 1) paths.delete(paths.has(graph.entry) ? graph.entry : first!);
    for (const path of paths) apart.add(path);
  }
  return [...apart];
}

function* declarations(
  code: string,
  marks: ReadonlyMap<string, string>,
  graph: ModuleGraph,
): Generator<Declared> {
  let module: GraphModule | undefined;
  for (const line of code.split("\n")) {
    const path = marks.get(line);
    if (path !== undefined) module = graph.modules.get(path);
    else if (module)
      for (const [, kind, name, value] of line.matchAll(DECLARED)) {
        const isClass = kind === "class" || value === "class";
        const isFunction = kind!.startsWith("function") || (value !== undefined && !isClass);
        yield { module, name: name!, isClass, isFunction };
      }
  }
}

/** The name as its author wrote it: the compiler appends digits. */
function baseOf(name: string, { text }: GraphModule): string {
  if (text === undefined || text.includes(name)) return name;
  const base = name.replace(/\d+$/, "");
  return text.includes(base) ? base : name;
}
