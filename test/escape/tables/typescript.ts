/** What TypeScript tries: `functions/reaches.ts` has a function for each name. */
import { type Attempt, ROOT, row } from "../attempt.ts";

const CLOSED = ["EACCES", "EROFS"];
const HIDDEN = ["ENOENT", "ESRCH", "EACCES", "EPERM"];
/** The engine says of a socket that it cannot open that no one listens. */
const UNREACHED = ["EPERM", "EACCES", "ECONNREFUSED"];

const file = row("TypeScript", "files");
const FILES: Attempt[] = [
  ...[
    ...["readsFile", "readsByBun", "mapsFile", "copiesFile", "fetchesFile", "listsHome"],
    ...["writesFile", "removesTree", "dumpsHeap", "racesLinks", "rewritesCache", "removesCache"],
    ...["listsCache", "readsState", "listsRooms"],
  ].map((name) => file(name, CLOSED)),
  ...["readsVictimFile", "writesVictimFile"].map((name) => file(name, HIDDEN)),
  file("opensDatabase", ["SQLITE_CANTOPEN"]),
  file("importsModule", ["ERR_MODULE_NOT_FOUND", ...CLOSED]),
  file("watchesFolder", ["EPERM"]),
  ...["changesOwnModule", "replacesOwnModule"].map((name) =>
    file(name, [...CLOSED, "EPERM", "EXDEV"]),
  ),
];

const process_ = row("TypeScript", "processes");
const PROCESSES: Attempt[] = [
  ...["readsAgentEnvironment", "readsAgentDescriptors"].map((name) => process_(name, HIDDEN, ROOT)),
  ...["readsVictimDescriptors", "searchesVictim"].map((name) => process_(name, HIDDEN, ROOT)),
  process_("searchesAll", ["nothing"], ROOT),
  process_("seesHosts", ["nothing", ...HIDDEN]),
  ...["signalsDecoy", "signalsAgent", "signalsVictim"].map((name) => process_(name, HIDDEN)),
];

const socket = row("TypeScript", "sockets");
const SOCKETS: Attempt[] = [
  ...["connectsByBun", "fetches", "connectsToPath", "connectsToNode", "serves"].map((name) =>
    socket(name, UNREACHED),
  ),
  socket("sendsDatagram", UNREACHED),
  // Of listening the engine has words alone, and no code.
  socket("listens", [...UNREACHED, "RFAAS_FUNCTION_ERROR", "RFAAS_NOT_ALLOWED"]),
];

const program = row("TypeScript", "programs");
const PROGRAMS: Attempt[] = [
  ...["spawnsByBun", "spawnsByNode", "runsShell", "leavesDaemon"].map((name) =>
    program(name, ["EPERM", "EACCES"]),
  ),
  ...["usesShell", "callsLibrary"].map((name) => program(name, ["nothing", "EPERM", "EACCES"])),
];

const descriptor = row("TypeScript", "descriptors");
const DESCRIPTORS: Attempt[] = [
  descriptor("holdsFiles", ["nothing"]),
  descriptor("readsEnvironment", ["nothing"]),
];

export const TYPESCRIPT: readonly (readonly [group: string, attempts: readonly Attempt[]])[] = [
  ["files", FILES],
  ["processes", PROCESSES],
  ["sockets", SOCKETS],
  ["programs", PROGRAMS],
  ["what it was born with", DESCRIPTORS],
];
