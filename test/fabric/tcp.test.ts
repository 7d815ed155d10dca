import { conformance } from "./conformance.ts";
import { linked } from "./linked.ts";

conformance(linked("tcp", "127.0.0.1", 0.1));
