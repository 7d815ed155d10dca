/**
 * Runs a script in this process as `bun SCRIPT` would. A second process would take twice as long to start, so the executable's own
 * engine imports the script, after Bun's notion of the main module has been changed. Measured with Bun 1.4.5: `Bun.main` can be
 * assigned, `import.meta.main` and `require.main` follow it, and an error that `import()` rejects with is shown as one of a main
 * module. `node:fs` and `process.stdout` take milliseconds to load, so nothing here may use them.
 */
import { provideLibrary } from "./modules.ts";

export interface Script {
  /** Absolute; of a script from standard input the name that Bun gives it. */
  path: string;
  /** Its first word in `process.argv`, where a path is absolute. */
  name: string;
  args: string[];
}

const STDIN = "-";
/** What the runtime imports as something else than code, and would seem to run. */
const NO_SCRIPT = /\.(?:jsonc?|json5|toml|ya?ml|txt|md|html|xml|css|sh|sqlite|so|node|wasm|rfaas)$/;

/**
 * Takes `--sandbox NAME` from the front of the words behind `rfaas run`, for the private nodes of the script and of what it starts. What is
 * wrong is left for the command to refuse.
 */
export function takeSandbox(words: readonly string[]): readonly string[] {
  const [flag = "", value] = words;
  const [, joined] = /^--sandbox=(.+)$/.exec(flag) ?? [];
  const name = joined ?? (flag === "--sandbox" ? value : undefined);
  if (name === undefined || name === "") return words;
  process.env["RFAAS_SANDBOX"] = name;
  return words.slice(joined === undefined ? 2 : 1);
}

/** The script that the words behind `rfaas run` name. Undefined when they name none that could be run: the command says why. */
export function findScript(words: readonly string[]): Script | undefined {
  const [named, ...args] = words[0] === "--" ? words.slice(1) : words;
  if (named === undefined) return undefined;
  if (named === STDIN) return { path: `${process.cwd()}/[stdin]`, name: STDIN, args };
  // The engine takes what follows ? for a query, and \ for a separator.
  if ((named.startsWith("-") && words[0] !== "--") || /[?\\]/.test(named)) return undefined;
  try {
    const absolute = named.startsWith("/") ? named : `${process.cwd()}/${named}`;
    // Bun does not look for a path that begins with two slashes.
    const path = Bun.resolveSync(absolute.replace(/^\/+/, "/"), "/");
    return NO_SCRIPT.test(path) ? undefined : { path, name: path, args };
  } catch {
    return undefined;
  }
}

/** Returns when the script's module has been evaluated; rejects with what it throws. */
export async function startScript({ path, name, args }: Script): Promise<void> {
  // Read by child_process.fork, whose children then have our modules, too.
  process.execArgv = Bun.isStandaloneExecutable ? ["run"] : [Bun.main, "run"];
  provideLibrary(path);
  if (name === STDIN) {
    const contents = await Bun.stdin.text();
    Bun.plugin({
      name: "a script from standard input",
      setup: (build) => void build.module(path, () => ({ contents, loader: "tsx" })),
    });
  }
  Object.assign(Bun, { main: path });
  process.argv = [process.execPath, name, ...args];
  serveDefault(await import(path));
}

/** As Bun does with what its main module exports: an object with `fetch` is a server. */
function serveDefault({ default: server }: { default?: unknown }): void {
  if (typeof (server as Bun.Serve.Options<unknown> | undefined)?.fetch !== "function") return;
  const { url } = Bun.serve(server as Bun.Serve.Options<unknown>);
  console.debug(`Started server: ${url}`);
}
