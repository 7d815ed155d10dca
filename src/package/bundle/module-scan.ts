/**
 * Reads from the text of one module what it imports, whether it is an ES module, and whether it looks for its own place on the
 * disk. Where the text leaves a doubt the answer is the one that keeps the module a file of its own: that costs speed, and no more.
 */
import { extname } from "node:path";

/** The last two name a file and do not load it: it must be one. `import-resolve` is `import.meta.resolve`. */
export type ImportKind =
  "import-statement" | "require-call" | "dynamic-import" | "require-resolve" | "import-resolve";

export interface Scan {
  imports: { specifier: string; kind: ImportKind }[];
  /** Surely an ES module: its code can be joined with that of others. */
  esm: boolean;
  /** It looks for files, modules or itself by its own place. */
  placeBound: boolean;
  /** Joined with other code it would see that code's names, by direct `eval`. */
  evals: boolean;
  /** It may wait as it loads; those that are beside it in its importer load meanwhile. */
  waits: boolean;
  /** What it hands on as a whole, by `export * from`. */
  handedOn: string[];
  /** It imports or requires what only its run decides. */
  computed: boolean;
}

const LOADERS: Record<string, "ts" | "tsx" | "jsx"> = {
  ".ts": "ts",
  ".mts": "ts",
  ".cts": "ts",
  ".tsx": "tsx",
  ".js": "jsx",
  ".mjs": "jsx",
  ".cjs": "jsx",
  ".jsx": "jsx",
};

const KINDS = new Set<string>([
  "import-statement",
  "require-call",
  "dynamic-import",
  "require-resolve",
]);

/** Neither a question whether there is `import.meta`, nor parts of it that say nothing of a place. */
const PLACE_OF_META =
  /(?<!\btypeof\s+)\bimport\s*\.\s*meta\b(?!\s*(?:\??\s*\.\s*(?:env|main|hot|webpackHot|vitest)\b|(?:\?\s*\.\s*)?\[\s*(["'])(?:env|main|hot)\1\s*\]|&&|[!=]==?|\?(?![.?])))/;
const PLACE = [
  PLACE_OF_META,
  /\b__(?:dirname|filename)\b/,
  /\bcreateRequire\b/,
  /\brequire\s*\.\s*(?:resolve|main|cache|extensions)\b/,
  /\bmodule\s*\.\s*(?:paths|parent|filename|path|require|children)\b/,
  /\bnew\s+(?:\w+\s*\.\s*)?Worker\s*\(/,
  /[\w)}-]\.node["'`]/,
  /\bdlopen\s*\(/,
];
const LITERAL = String.raw`(?:"[^"\n]*"|'[^'\n]*'|\`[^\`$\n]*\`)`;
const COMMENT = String.raw`(?:/\*[^*]*\*/\s*)*`;
const COMPUTED = [
  new RegExp(String.raw`(?<![\w$.])(?:require|import)\s*\(\s*(?!\s*${COMMENT}${LITERAL}\s*[,)])`),
  // Handed on under another name.
  /[=(,:?&|]\s*require\s*[,;)&|\n]/,
];
const EVAL = /(?<![\w$.])eval\s*\(/;
/** On a line that is not indented, with no function before it. */
const AWAIT = /^(?!\s)(?:(?!\basync\b|=>)[^\n])*?\bawait\b/m;
const COMMONJS = /\bmodule\s*\.\s*exports\s*[.[=]|(?<![\w$.])exports\s*(?:\.\s*\w+\s*=[^=]|\[)/;
/** Without syntax of ES modules and any of these the runtime takes a file as an ES module. */
const MAYBE_COMMONJS = /\b(?:module|exports|require|this|arguments|__dirname|__filename)\b/;

/** Whether a file is code that can be scanned. */
export function isCode(path: string): boolean {
  return extname(path) in LOADERS;
}

/** Reads a module's text; `undefined` when it does not parse. */
export function scanModule(path: string, text: string): Scan | undefined {
  const extension = extname(path);
  const code = withoutCommentLines(text);
  const words = withoutTexts(code);
  const computed = COMPUTED.some((pattern) => pattern.test(words));
  const placeBound = computed || PLACE.some((pattern) => pattern.test(code));
  const evals = EVAL.test(words);
  const waits = AWAIT.test(words);
  let found;
  try {
    const transpiler = transpilerOf(LOADERS[extension] ?? "jsx");
    // Each sees what the other does not.
    const { exports, imports } = transpiler.scan(text);
    found = { exports, imports: [...imports, ...transpiler.scanImports(text)] };
  } catch {
    return undefined;
  }
  const imports = new Map<string, Scan["imports"][number]>();
  const add = (specifier: string, kind: ImportKind) =>
    imports.set(`${kind} ${specifier}`, { specifier, kind });
  for (const { path: specifier, kind } of found.imports)
    if (KINDS.has(kind)) add(specifier, kind as ImportKind);
  for (const { specifier, kind } of namedFiles(code)) add(specifier, kind);
  // Which of them it is depends on the environment.
  for (const { specifier } of [...imports.values()]) {
    const [, source] = /^(.+)\/jsx-(?:dev-)?runtime$/.exec(specifier) ?? [];
    if (source === undefined) continue;
    add(`${source}/jsx-runtime`, "import-statement");
    add(`${source}/jsx-dev-runtime`, "import-statement");
  }
  const isModule =
    found.exports.length > 0 || found.imports.some(({ kind }) => kind === "import-statement");
  const esm =
    extension === ".mjs" ||
    extension === ".mts" ||
    (extension !== ".cjs" &&
      extension !== ".cts" &&
      !COMMONJS.test(code) &&
      (isModule || !MAYBE_COMMONJS.test(code)));
  const handedOn = [...code.matchAll(HANDED_ON)].map(([, specifier]) => specifier!);
  return { imports: [...imports.values()], esm, placeBound, evals, waits, computed, handedOn };
}

const HANDED_ON = /\bexport\s*\*\s*from\s*["']([^"'\n]+)["']/g;

const transpilers = new Map<string, Bun.Transpiler>();

function transpilerOf(loader: "ts" | "tsx" | "jsx"): Bun.Transpiler {
  const known = transpilers.get(loader);
  if (known) return known;
  const trimUnusedImports = loader !== "jsx";
  const made = new Bun.Transpiler({ loader, target: "bun", trimUnusedImports });
  transpilers.set(loader, made);
  return made;
}

/** Whether a module asks where it lies, and not only to find others. */
export function usesPlace(text: string): boolean {
  const code = withoutCommentLines(text).replace(
    /\bcreateRequire\(\s*(?:import\.meta\.url|__filename)/g,
    "",
  );
  return /\bimport\s*\.\s*meta\s*(?:\.\s*(?:dir|dirname|file|filename|path|url)\b|[^.\s])|\b__(?:dirname|filename)\b/.test(
    code,
  );
}

/** What a module requires by name, of text that no parser has read. */
export function requiredNames(text: string): Scan["imports"] {
  return [...text.matchAll(/\brequire\s*\(\s*(["'])([^"'\n]+)\1\s*\)/g)].map(([, , specifier]) => ({
    specifier: specifier!,
    kind: "require-call" as const,
  }));
}

/** Modules that are named without the keyword or by another name of it. */
function* namedFiles(code: string): Generator<Scan["imports"][number]> {
  for (const [, specifier] of code.matchAll(
    new RegExp(String.raw`\bimport\.meta\.(?:resolve(?:Sync)?|require)\(${QUOTED}`, "g"),
  ))
    yield { specifier: specifier!, kind: "import-resolve" };
  // Code may have words of a megabyte.
  const names = code.matchAll(/(?<![\w$])([\w$]{1,100})\s*=\s*(?:\w{1,100}\.)?createRequire\s*\(/g);
  for (const [, name] of names)
    for (const [, specifier] of code.matchAll(
      new RegExp(
        String.raw`(?<![\w$.])${name!.replaceAll("$", "\\$")}(?:\.resolve)?\(${QUOTED}\s*\)`,
        "g",
      ),
    ))
      yield { specifier: specifier!, kind: "require-resolve" };
}

/** Lines that certainly have no pattern, comment or template in them lose what they quote. */
function withoutTexts(code: string): string {
  return code.replace(/^[^/`\n]{1,400}$/gm, (line) =>
    line.replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g, '""'),
  );
}

function withoutCommentLines(text: string): string {
  return text.replace(/^[^\S\n]*(?:\/\/|\* ).*$/gm, "");
}

const HERE = String.raw`(?:__dirname|import\.meta\.(?:dir|dirname)|(?:path\.)?dirname\(\s*(?:(?:url\.)?fileURLToPath\(\s*import\.meta\.url\s*\)|__filename|import\.meta\.(?:path|filename))\s*\))`;
const QUOTED = String.raw`\s*["']([^"'\n]+)["']`;

/**
 * Files beside itself that a module's text names, by their path from the module's folder, with or without its first `./`:
 * `new URL("./model.onnx", import.meta.url)`, `join(__dirname, "data", "x.txt")`, `import.meta.dir + "/x"`.
 */
export function namedBeside(text: string): string[] {
  const code = withoutCommentLines(text);
  const names: string[] = [];
  const here = [HERE];
  for (const [, alias] of code.matchAll(
    new RegExp(String.raw`\b(?:const|let|var)\s+([\w$]+)\s*=\s*${HERE}`, "g"),
  ))
    here.push(alias!.replaceAll("$", String.raw`\$`));
  const place = `(?<![\\w$.])(?:${here.join("|")})`;
  for (const [, name] of code.matchAll(
    new RegExp(String.raw`\bnew\s+URL\(${QUOTED}\s*,\s*import\.meta\.url\b`, "g"),
  ))
    names.push(decoded(name!));
  for (const [, name] of code.matchAll(
    new RegExp(
      String.raw`\b(?:require\.resolve|import\.meta\.resolve(?:Sync)?|new\s+Worker)\(${QUOTED}`,
      "g",
    ),
  ))
    if (name!.startsWith(".")) names.push(name!);
  for (const [, rest] of code.matchAll(
    new RegExp(
      String.raw`\b(?:join|resolve)\(\s*${place}((?:\s*,\s*["'][^"'\n]*["'])+)\s*,?\s*\)`,
      "g",
    ),
  ))
    names.push([...rest!.matchAll(/["']([^"'\n]*)["']/g)].map(([, part]) => part).join("/"));
  for (const [, name] of code.matchAll(
    new RegExp(String.raw`${place}\s*\+\s*["']/([^"'\n]+)["']`, "g"),
  ))
    names.push(name!);
  for (const [, name] of code.matchAll(
    new RegExp(String.raw`\$\{\s*${place}\s*\}/([^\`$\n]+)\``, "g"),
  ))
    names.push(name!);
  return [...new Set(names)];
}

/** Texts of a module that looks for its own place, which may be names of data below its folder in ways of its own. */
export function mayBeBeside(text: string): string[] {
  const texts = [
    ...text.matchAll(/(?:(["'])[^"'\n]{1,200}\1\s*,\s*)*(["'])[^"'\n]{1,200}\2/g),
  ].flatMap(([found]) => {
    const parts = [...found.matchAll(/(["'])([^"'\n]+)\1/g)].map(([, , part]) => part!);
    return [...parts, parts.join("/")];
  });
  const templates = [...text.matchAll(/`[^`\n]{0,200}\}\/?([^`$\n{}]{1,200})`/g)].map(
    ([, name]) => name!,
  );
  return [...new Set([...texts, ...templates])]
    .map((name) => name.replace(/^(?:\.?\/)+/, ""))
    .filter((name) => name !== "" && !name.split("/").includes("..") && !/(^|\/)\./.test(name));
}

/** Whether a module's text reads files. */
export function readsFiles(text: string): boolean {
  return /\b(?:read(?:dir|File|v)|createReadStream|opendir|open(?:Sync)?\s*\(|Bun\.file\b)/.test(
    text,
  );
}

/** The path that a part of a URL stands for. */
function decoded(name: string): string {
  try {
    return decodeURIComponent(name.replace(/[?#].*$/, ""));
  } catch {
    return name;
  }
}
