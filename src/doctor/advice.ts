/** Which three commands are worth trying next on a machine, by what is there. Pure: `rfaas doctor` looks around. */
import type { Finding } from "../base/finding.ts";
import { shellWord } from "../base/show.ts";

export interface Advice {
  /** As it is typed in the folder that was looked at; it works there. */
  command: string;
  /** A clause. */
  why: string;
}

/** What was found beside the machine's own findings. */
export interface Situation {
  findings: readonly Finding[];
  /** How the executable is called here. */
  program: string;
  cores: number;
  /** A module of functions in this folder. */
  module?: string;
  /** This folder has tests of functions. */
  tests: boolean;
  /** A script in this folder that calls functions. */
  client?: string;
  /** The socket of a node that runs on this machine. */
  node?: string;
  /** A manager that answers. */
  manager?: string;
  /** A fabric that needs a device, which this machine has. */
  fabric?: { name: string; title: string };
  /** Of a folder that `rfaas new` could make here. */
  newName?: string;
  /** Of the findings, commands that mend something and that this user may run. */
  fixes: readonly Advice[];
}

const WANTED = 3;

/** Always three, the best first. */
export function adviceFor(situation: Situation): Advice[] {
  const { findings, program } = situation;
  const broken = findings.filter(({ state, fix }) => state === "missing" && fix !== undefined);
  const ranked =
    broken.length > 0
      ? [
          ...broken.map(({ name, fix }) => ({ command: fix!, why: `mends: ${name}` })),
          { command: `${program} doctor`, why: "whether that has helped" },
          { command: `${program} help`, why: "what rfaas can do then" },
          { command: `${program} --version`, why: "which rfaas this is" },
        ]
      : ranking(situation);
  return ranked.slice(0, WANTED);
}

function ranking(situation: Situation): Advice[] {
  const { program, module, tests, client, node, manager, fabric, newName, cores, fixes } =
    situation;
  const at = node === undefined ? "" : ` --node ${shellWord(node)}`;
  const when = (is: boolean, command: string, why: string): Advice[] =>
    is ? [{ command: `${program} ${command}`, why }] : [];
  return [
    ...when(tests, "test", "runs the tests of this folder"),
    ...when(
      client !== undefined,
      `run ${shellWord(client ?? "")}`,
      "runs the script of this folder that calls functions",
    ),
    ...when(
      module !== undefined && node === undefined,
      `serve --watch ${shellWord(module ?? "")}`,
      "a node whose leases follow your changes of the module",
    ),
    ...when(
      module !== undefined && node !== undefined,
      `package push ${shellWord(module ?? "")}${at}`,
      "brings the module to the node that runs here",
    ),
    ...when(
      manager !== undefined,
      `ps --manager ${shellWord(manager ?? "")}`,
      "the nodes of the cluster, and what runs on them",
    ),
    ...when(node !== undefined, `ps${at}`, "what runs on the node of this machine"),
    ...(fabric === undefined ? [] : fixes),
    ...when(
      fabric !== undefined,
      `bench latency --fabric ${fabric?.name}`,
      `what a call costs over ${fabric?.title}`,
    ),
    ...when(
      module === undefined,
      `invoke rfaas:echo#echo --json '"hello"'${at}`,
      "a first call, of a function that is built in",
    ),
    ...when(
      module === undefined && newName !== undefined,
      `new ${newName}`,
      "a small project of functions with its test",
    ),
    ...when(
      fabric === undefined && cores >= 2,
      "bench latency",
      "what a call costs on this machine",
    ),
    ...when(cores < 2, "bench cold", "how long a lease and its first call take"),
    ...when(node === undefined && module === undefined, "serve", "a node that programs share"),
    ...when(true, "help invoke", "how a function is called, with what options"),
    ...when(true, "help serve", "what a node can be told"),
  ];
}
