/**
 * What a script and its threads may import of rfaas: the executable's own library, whether or not one is installed beside the script,
 * so that there is one instance of it, of one version. It is loaded when it is imported, or the start of a script would take longer.
 */
import { plugin } from "bun";
import { provide } from "../../executor/modules/provide.ts";

/** Lets this thread, and the threads that it starts, import the library. */
export function provideLibrary(): void {
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
