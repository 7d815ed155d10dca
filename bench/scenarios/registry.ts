/** The scenarios of `rfaas bench`. */
import type { Scenario } from "../scenario.ts";
import { bandwidth } from "./bandwidth.ts";
import { cold } from "./cold.ts";
import { density } from "./density.ts";
import { latency } from "./latency.ts";
import { throughput } from "./throughput.ts";

export const SCENARIOS: readonly Scenario[] = [latency, throughput, bandwidth, cold, density];
