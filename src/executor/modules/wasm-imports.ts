/**
 * What modules of AssemblyScript and emscripten import by default, where it makes sense in a function: the end of a call with a
 * message, lines for the log, clocks, random numbers, copies and growth within the module's own memory, a table of its own. What
 * reaches further (files, the network, JavaScript's exceptions as C's) is refused, with what to build instead.
 */
import { type WasmImport, WasmError } from "../../library/wasm.ts";

type HostFunction = (...args: number[]) => number | void;
/** What imports work on. Its buffer is another one after each growth. */
interface Host {
  memory(): WebAssembly.Memory;
  maximumPages: number | undefined;
}
interface Served {
  type: string;
  make(host: Host): HostFunction;
}

const PAGE_BYTES = 65536;
const MAX_PAGES = 65536;
/** No text that a module hands out is longer; a wrong pointer may lead to more. */
const MAX_TEXT_BYTES = 65536;

/** The module has ended its call by itself. */
class WasmAbort extends Error {
  override readonly name = "WasmAbort";
  readonly code = "RFAAS_WASM_ABORT";
}

/** AssemblyScript: UTF-16, its bytes counted in the word before. */
function wideText({ memory }: Host, at: number): string {
  const pointer = at >>> 0;
  if (pointer < 4) return "";
  const view = new DataView(memory().buffer);
  if (pointer > view.byteLength) return "";
  const bytes = Math.min(
    view.getUint32(pointer - 4, true),
    MAX_TEXT_BYTES,
    view.byteLength - pointer,
  );
  return new TextDecoder("utf-16le").decode(new Uint8Array(view.buffer, pointer, bytes & ~1));
}

/** C: UTF-8 up to a zero. */
function narrowText({ memory }: Host, at: number): string {
  const pointer = at >>> 0;
  if (pointer === 0 || pointer >= memory().buffer.byteLength) return "";
  const bytes = new Uint8Array(memory().buffer, pointer).subarray(0, MAX_TEXT_BYTES);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.slice(0, end));
}

function grow({ memory, maximumPages = MAX_PAGES }: Host, toBytes: number): number {
  const missing = Math.ceil((toBytes >>> 0) / PAGE_BYTES) - memory().buffer.byteLength / PAGE_BYTES;
  if (missing <= 0) return 1;
  if (memory().buffer.byteLength / PAGE_BYTES + missing > maximumPages) return 0;
  try {
    memory().grow(missing);
    return 1;
  } catch {
    return 0;
  }
}

const served = (type: string, make: (host: Host) => HostFunction): Served => ({ type, make });
const line = (level: "log" | "debug" | "info" | "warn" | "error", text: typeof wideText): Served =>
  served("(i32) -> ()", (host) => (at) => console[level](text(host, at!)));

/** AssemblyScript names the place in its source; the rest has no more to say than that it is over. */
const aborts = [
  served("(i32, i32, i32, i32) -> ()", (host) => (message, file, row, column) => {
    const place = `${wideText(host, file!) || "?"}:${row! >>> 0}:${column! >>> 0}`;
    throw new WasmAbort(`${wideText(host, message!) || "abort"} (${place})`);
  }),
  served("() -> ()", () => () => {
    throw new WasmAbort("the module called abort()");
  }),
];

const timers = new Map<string, number>();
const timed = (host: Host, at: number): string => {
  const label = wideText(host, at);
  return `${label}: ${(performance.now() - (timers.get(label) ?? performance.now())).toFixed(3)} ms`;
};

const ASSEMBLYSCRIPT: Record<string, Served[]> = {
  seed: [served("() -> f64", () => () => crypto.getRandomValues(new Uint32Array(1))[0]! / 7)],
  trace: [
    served("(i32, i32, f64, f64, f64, f64, f64) -> ()", (host) => (message, count, ...numbers) => {
      const shown = numbers.slice(0, Math.max(0, count!));
      console.error(`trace: ${[wideText(host, message!), ...shown].join(" ")}`);
    }),
  ],
  "console.assert": [
    served("(i32, i32) -> ()", (host) => (holds, message) => {
      if (holds === 0) console.error(`Assertion failed: ${wideText(host, message!)}`);
    }),
  ],
  "console.time": [
    served("(i32) -> ()", (host) => (label) => {
      timers.set(wideText(host, label!), performance.now());
    }),
  ],
  "console.timeLog": [served("(i32) -> ()", (host) => (at) => console.info(timed(host, at!)))],
  "console.timeEnd": [
    served("(i32) -> ()", (host) => (at) => {
      console.info(timed(host, at!));
      timers.delete(wideText(host, at!));
    }),
  ],
  "Date.now": [served("() -> f64", () => () => Date.now())],
  "performance.now": [served("() -> f64", () => () => performance.now())],
};

for (const level of ["log", "debug", "info", "warn", "error"] as const)
  ASSEMBLYSCRIPT[`console.${level}`] = [line(level, wideText)];

const EMSCRIPTEN: Record<string, Served[]> = {
  _abort_js: [aborts[1]!],
  __assert_fail: [
    served("(i32, i32, i32, i32) -> ()", (host) => (condition, file, row, func) => {
      const where = `${narrowText(host, file!) || "?"}:${row! >>> 0}, in ${narrowText(host, func!) || "?"}`;
      throw new WasmAbort(`Assertion failed: ${narrowText(host, condition!)} (${where})`);
    }),
  ],
  // Views of the memory are looked at before each use.
  emscripten_notify_memory_growth: [served("(i32) -> ()", () => () => {})],
  emscripten_resize_heap: [served("(i32) -> i32", (host) => (bytes) => grow(host, bytes!))],
  emscripten_get_heap_max: [
    served(
      "() -> i32",
      ({ maximumPages = MAX_PAGES }) =>
        () =>
          Math.min(maximumPages * PAGE_BYTES, 0xffff0000) | 0,
    ),
  ],
  emscripten_get_now: [served("() -> f64", () => () => performance.now())],
  emscripten_date_now: [served("() -> f64", () => () => Date.now())],
  _emscripten_get_now_is_monotonic: [served("() -> i32", () => () => 1)],
  emscripten_random: [served("() -> f32", () => () => Math.random())],
  getentropy: [
    served("(i32, i32) -> i32", ({ memory }) => (to, bytes) => {
      if (bytes! >>> 0 > 256) return -1;
      crypto.getRandomValues(new Uint8Array(memory().buffer, to! >>> 0, bytes! >>> 0));
      return 0;
    }),
  ],
  __handle_stack_overflow: [
    served("(i32) -> ()", () => () => {
      throw new WasmAbort("the module's stack has overflowed; build it with a larger -sSTACK_SIZE");
    }),
  ],
  _emscripten_runtime_keepalive_clear: [served("() -> ()", () => () => {})],
};
for (const name of ["_emscripten_memcpy_js", "emscripten_memcpy_js", "emscripten_memcpy_big"])
  EMSCRIPTEN[name] = [
    served("(i32, i32, i32) -> ()", ({ memory }) => (to, from, bytes) => {
      const heap = new Uint8Array(memory().buffer);
      const [start, end] = [from! >>> 0, (from! >>> 0) + (bytes! >>> 0)];
      if (end > heap.length || (to! >>> 0) + (bytes! >>> 0) > heap.length)
        throw new WasmAbort("the module copies beyond its memory");
      heap.copyWithin(to! >>> 0, start, end);
    }),
  ];
for (const [name, level] of [
  ["emscripten_console_log", "log"],
  ["emscripten_console_warn", "warn"],
  ["emscripten_console_error", "error"],
  ["emscripten_out", "log"],
  ["emscripten_err", "error"],
] as const)
  EMSCRIPTEN[name] = [line(level, narrowText)];

/** By name, below the module `env`. */
const ENV = new Map(Object.entries({ abort: aborts, ...ASSEMBLYSCRIPT, ...EMSCRIPTEN }));

/**
 * What answers an import that is neither a memory nor of WASI's.
 *
 * @throws {WasmError} no node has it; the message says what to build instead
 */
export function hostImport(wanted: WasmImport, kind: string, host: Host): unknown {
  const { module, name, type, table } = wanted;
  const variants = module === "env" ? (ENV.get(name) ?? []) : [];
  const fitting = variants.find((variant) => variant.type === type);
  if (fitting) return fitting.make(host);
  // Indirect calls go through it; what is in it comes from the module.
  if (module === "env" && table?.element === "funcref" && !/__memory|__table_base/.test(name))
    return new WebAssembly.Table({
      element: "anyfunc",
      initial: table.initial,
      ...(table.maximum === undefined ? {} : { maximum: table.maximum }),
    });
  const known = variants.map((variant) => variant.type).join(" or ");
  throw new WasmError(
    known === ""
      ? `imports ${module}.${name} (${kind}), which no node has; ${advice(wanted)}`
      : `imports ${module}.${name} of the type ${type ?? kind}, which nodes have as ${known}; build it with a newer compiler, or link it in`,
  );
}

/** What to do about an import, by whose it is. */
function advice({ module, name }: WasmImport): string {
  const text = `${module}.${name}`;
  const rules: [RegExp, string][] = [
    [
      /^(wbg|__wbindgen_placeholder__|__wbindgen_\w+)\./,
      "it is wasm-bindgen's, which needs JavaScript: build without it, or for wasm32-wasip1",
    ],
    [
      /^(go|gojs)\./,
      "it is Go's, which needs JavaScript: build with GOOS=wasip1 -buildmode=c-shared",
    ],
    [/^wasi:/, "it is a part of WASI preview 2: build for preview 1 (wasm32-wasip1)"],
    [
      /^(env|a)\.[a-zA-Z]{1,2}$/,
      "if emscripten has shortened its names, build with -sSTANDALONE_WASM --no-entry",
    ],
    [
      /^env\.(invoke_|__cxa_|__resumeException|llvm_eh|_emscripten_throw_longjmp)/,
      "exceptions and longjmp need JavaScript so: build with -fwasm-exceptions -sSUPPORT_LONGJMP=wasm, or -fno-exceptions",
    ],
    [/^env\.__syscall_/, "functions have no files: build without, or with -sSTANDALONE_WASM"],
    [
      /^(GOT\.|env\.(__memory_base|__table_base|__stack_pointer)$)/,
      "it is a side module: link it as a whole (without -sSIDE_MODULE, -shared)",
    ],
    [
      /^env\.(emscripten_|_emscripten_|__asyncjs|em_js|emscripten_asm)|^env\.\w+_js$/,
      "it needs emscripten's JavaScript: build with -sSTANDALONE_WASM --no-entry, without EM_JS and asyncify",
    ],
    [
      /^env\.(crypto|document|process|Reflect)\b|^[./]/,
      "it is a binding to JavaScript: pass what it gives in the input",
    ],
  ];
  return (
    rules.find(([pattern]) => pattern.test(text))?.[1] ?? "link it in, or build for WASI preview 1"
  );
}
