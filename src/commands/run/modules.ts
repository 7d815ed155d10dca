/**
 * What a script and its threads may import of rfaas: the executable's own library, whether or not one is installed beside the script,
 * so that there is one instance of it, of one version. It is loaded when it is imported, or the start of a script would take longer.
 */
import { plugin } from "bun";
import { provide } from "../../executor/modules/provide.ts";

const TYPEBOX = "@sinclair/typebox";

/** Lets this thread, which runs the script at `path`, and the threads that it starts import the library. */
export function provideLibrary(path: string): void {
  provide("rfaas", {
    rfaas: () => {
      const { hideOwnFrames } = require("./own-frames.ts") as typeof import("./own-frames.ts");
      hideOwnFrames();
      if (Bun.isMainThread) warnOfAnother();
      // The library loads node:worker_threads for itself.
      extendThreads();
      return require("../../index.ts");
    },
    "rfaas/function": () => require("../../function/index.ts"),
    "rfaas/testing": () => require("../../testing/index.ts"),
    ...typeBoxFor(path),
  });
  globalThis.Worker = extended(globalThis.Worker);
  plugin({
    name: "threads with rfaas, and JSX",
    setup(build) {
      build.onLoad({ filter: /^(?!.*\/node_modules\/).*\.[jt]sx$/ }, ({ path }) => {
        const { withPragmas } = require("./jsx.ts") as typeof import("./jsx.ts");
        return { contents: withPragmas(path), loader: path.endsWith(".jsx") ? "jsx" : "tsx" };
      });
      // Bun 1.4.5 asks before it loads this module, if only by its full name. To load it at once would take a fifth of our start.
      build.onResolve({ filter: /^worker_threads$/, namespace: "node" }, () => {
        extendThreads();
        return undefined;
      });
    },
  });
}

/** Workers have it for functions that have none installed, and a script may import such a function's file. */
function typeBoxFor(path: string): Record<string, () => object> {
  if (hasPackage(path, TYPEBOX)) return {};
  return Object.fromEntries(
    TYPEBOX_PARTS.map((part) => [
      TYPEBOX + part,
      () => {
        const { loadProvided } =
          require("../../executor/modules/provided.ts") as typeof import("../../executor/modules/provided.ts");
        return loadProvided(`rfaas/typebox${part}`);
      },
    ]),
  );
}

/** As `package/bundle/provided-names.ts` has them, whose file would cost as much again to load. */
export const TYPEBOX_PARTS = [
  "",
  "/compiler",
  "/errors",
  "/parser",
  "/syntax",
  "/system",
  "/type",
  "/value",
] as const;

/** As far as files say: a failed resolution would take a tenth of our start. */
function hasPackage(path: string, name: string): boolean {
  for (let end = path.lastIndexOf("/"); end >= 0; end = path.lastIndexOf("/", end - 1)) {
    if (Bun.file(`${path.slice(0, end)}/node_modules/${name}/package.json`).size > 0) return true;
    if (end === 0) break;
  }
  return false;
}

function warnOfAnother(): void {
  const { warnOfAnotherVersion } =
    require("./other-version.ts") as typeof import("./other-version.ts");
  warnOfAnotherVersion();
}

let threadsExtended = false;

/** The constructor of `node:worker_threads` does not call the global one. */
function extendThreads(): void {
  if (threadsExtended) return;
  threadsExtended = true;
  const module = require("node:worker_threads") as { Worker: AnyClass };
  module.Worker = extended(module.Worker);
}

/** TypeScript asks for `any` of a class that another one extends. */
type AnyClass = new (...args: any[]) => object;

/** Our own folder: the executable's modules seem to lie beside each other. */
const ROOT = new URL(Bun.isStandaloneExecutable ? "./" : "../../", import.meta.url);
/** What a thread runs before its own module. */
const PRELOAD = new URL("commands/run/thread-preload.ts", ROOT).pathname;

/** A class of threads that can import the library. Threads of rfaas itself stay as they are. */
function extended<Base extends AnyClass>(Worker: Base): Base {
  const { name } = Worker;
  const Extended = class extends Worker {
    constructor(...args: any[]) {
      const [url, options] = args as [string | URL, { preload?: string | string[] } | undefined];
      const ours = String(url).startsWith(ROOT.href);
      super(
        url,
        ours ? options : { ...options, preload: [PRELOAD, ...[options?.preload ?? []].flat()] },
      );
    }
  };
  return Object.defineProperty(Extended, "name", { value: name });
}
