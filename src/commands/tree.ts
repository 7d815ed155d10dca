/** The command tree. Each command is loaded only when it is called, so that `--version` costs nothing. */
import { cac } from "cac";
import { EXIT, RfaasError, UsageError, exitCode } from "../errors.ts";
import { VERSION } from "../version.ts";
import type { Command } from "./command.ts";

const COMMANDS: Record<string, () => Promise<Command>> = {
  serve: async () => (await import("./serve.ts")).serve,
  manager: async () => (await import("./manager.ts")).manager,
  node: async () => (await import("./node.ts")).node,
  token: async () => (await import("./token.ts")).token,
  ps: async () => (await import("./ps.ts")).ps,
  bill: async () => (await import("./bill.ts")).bill,
  package: async () => (await import("./package.ts")).packageCommand,
  invoke: async () => (await import("./invoke.ts")).invoke,
  new: async () => (await import("./new.ts")).newProject,
  test: async () => (await import("./test.ts")).test,
  bench: async () => (await import("./bench.ts")).bench,
  doctor: async () => (await import("./doctor.ts")).doctor,
  __bundle: async () => (await import("./bundle.ts")).bundle,
  __host: async () => (await import("./host.ts")).host,
  __node: async () => (await import("./private-node.ts")).privateNode,
};

/** Runs one command line and sets the exit code. Never throws. */
export async function runCommandLine(argv: string[]): Promise<void> {
  // Whoever reads our output may have read enough.
  process.stdout.on("error", (error: NodeJS.ErrnoException) =>
    process.exit(error.code === "EPIPE" ? EXIT.ok : EXIT.failed),
  );
  try {
    await dispatch(argv);
  } catch (error) {
    await explain(error);
    process.exit(
      error instanceof Error && error.name === "CACError" ? EXIT.usage : exitCode(error),
    );
  }
}

async function dispatch(argv: string[]): Promise<void> {
  const [name, ...rest] = argv;
  if (
    name === undefined ||
    name === "--help" ||
    name === "-h" ||
    (name === "help" && rest.length === 0)
  ) {
    const { overview } = await import("./manual.ts");
    const commands = await Promise.all(Object.values(COMMANDS).map((load) => load()));
    process.stdout.write(overview(commands.filter((command) => !command.hidden)));
    return;
  }
  if (name === "--version" || name === "-V" || name === "version") {
    process.stdout.write(`rfaas ${VERSION}\n`);
    return;
  }
  if (name === "help") return await showManual(rest[0]!);
  const command = await load(name);
  if (rest.includes("--help") || rest.includes("-h")) return await showManual(name);

  const cli = cac("rfaas");
  const declared = cli.command(`${name} [...args]`, command.summary);
  for (const { flag, description } of command.options) declared.option(flag, description);
  declared.action(
    async (args: string[], options: Record<string, unknown>) =>
      await command.run(args, asWritten(options, command, argv)),
  );
  cli.parse(["", "", ...withDashValues(argv)], { run: false });
  await cli.runMatchedCommand();
}

/**
 * `cac` gives an option under both of its names, and makes a number of whatever looks like one, so that 007 becomes 7 and long
 * ids lose digits. Keeps the long name, and the text wherever the number would be written otherwise.
 */
function asWritten(
  options: Record<string, unknown>,
  command: Command,
  argv: readonly string[],
): Record<string, unknown> {
  const kept: Record<string, unknown> = { "--": options["--"] };
  for (const { flag } of command.options) {
    const [, short, long] = /^(?:-(\w), )?--([\w-]+)/.exec(flag) as unknown as [
      string,
      string | undefined,
      string,
    ];
    const name = long.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    const value = options[name];
    if (value === undefined) continue;
    const text = typeof value === "number" ? textOf(argv, short, long) : undefined;
    kept[name] = text === undefined || text === String(value) ? value : text;
  }
  return kept;
}

/** `cac` takes `-` and `-5` for options: ties them to the option before them. */
function withDashValues(argv: readonly string[]): string[] {
  const words: string[] = [];
  for (const word of argv) {
    const before = words.at(-1);
    if (/^-(\d|$)/.test(word) && before?.startsWith("--") && !before.includes("="))
      words[words.length - 1] = `${before}=${word}`;
    else words.push(word);
  }
  return words;
}

function textOf(
  argv: readonly string[],
  short: string | undefined,
  long: string,
): string | undefined {
  for (const [i, word] of argv.entries()) {
    if (word === `--${long}` || word === `-${short}`) return argv[i + 1];
    if (word.startsWith(`--${long}=`)) return word.slice(long.length + 3);
  }
  return undefined;
}

async function load(name: string): Promise<Command> {
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (found) return await found();
  const { nearest } = await import("./manual.ts");
  const visible = Object.keys(COMMANDS).filter((command) => !command.startsWith("__"));
  const suggestion = name.startsWith("-") ? undefined : nearest(name, visible);
  const what = name.startsWith("-") ? "option" : "command";
  throw new UsageError(
    `unknown ${what} "${name}"${suggestion ? `; did you mean "${suggestion}"?` : ""} See: rfaas help`,
  );
}

async function showManual(name: string): Promise<void> {
  const { manual } = await import("./manual.ts");
  process.stdout.write(manual(await load(name)));
}

/** One message for people. A stack only for a defect of our own. */
async function explain(error: unknown): Promise<void> {
  const { log } = await import("./log.ts");
  if (error instanceof RfaasError) {
    const own = error as { remoteStack?: string; errors?: readonly Error[] };
    log.error(error.name === "UsageError" ? error.message : `${error.name}: ${error.message}`);
    if (own.remoteStack) {
      log.log(own.remoteStack);
      for (let { cause } = error; cause instanceof Error; { cause } = cause)
        log.log(`caused by ${cause.stack ?? String(cause)}`);
      for (const one of own.errors ?? []) log.log(`one of its errors: ${one.stack ?? String(one)}`);
    }
  } else if (
    error instanceof Error &&
    (error.name === "CACError" || error.name === "ShimUnavailable")
  ) {
    const { nearest } = await import("./manual.ts");
    log.error(await withSuggestion(error.message, nearest));
  } else log.error(error);
}

/** `cac` says which option it does not know; say which one may have been meant. */
async function withSuggestion(
  message: string,
  nearest: (word: string, words: readonly string[]) => string | undefined,
): Promise<string> {
  const unknown = /Unknown option `(.+?)`/.exec(message)?.[1];
  const name = process.argv[2] ?? "";
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!unknown || !found) return message;
  const flags = (await found()).options.flatMap(({ flag }) => flag.match(/--?[\w-]+/g) ?? []);
  const suggestion = nearest(unknown, flags);
  return `unknown option ${unknown}${suggestion ? `; did you mean ${suggestion}?` : ""} See: rfaas help ${name}`;
}
