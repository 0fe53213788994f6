#!/usr/bin/env python3
"""A second opinion on `nooterra-agent policy backtest`.

Reads the same recordings and the same policies and computes the same intervals, written from
the definitions alone: other parsers (none but the standard library's), rotation matrices
instead of quaternions, winding numbers instead of crossings, and no code in common. What it is
told are the discs that the robot is judged by: which they are is a choice, and it checks that
they cover the outline with its margin. A test compares the two answers; so can you:

    nooterra-agent policy backtest --policy policy.toml recording.mcap --json > answer.json
    python3 backtest_oracle.py --policy policy.toml recording.mcap --discs answer.json

Chunks of an MCAP that are packed with zstd are unpacked by the `zstd` program; lz4 is not read.
"""

import argparse
import json
import math
import struct
import subprocess
import sys
import tomllib
from datetime import datetime

ROUNDING = 1e-9
SLACK_M = 0.005
LOOK_M = 0.05
MOST_LOOKS = 256
COURSE_MPS = 0.05
EARTH_M = 6378137.0


class Sample:
    """One measurement: nanoseconds, [x, y, z] or None, 3x4-less rotation matrix or None, and
    ("world" | "body", [vx, vy, vz], turn) or None."""

    def __init__(self, ns, position, rotation, velocity):
        self.ns, self.position, self.rotation, self.velocity = ns, position, rotation, velocity


# ---------------------------------------------------------------------------------- rotations


def from_quaternion(w, x, y, z):
    n = math.sqrt(w * w + x * x + y * y + z * z)
    if not n > 0.1:
        return None
    w, x, y, z = w / n, x / n, y / n, z / n
    return [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]


def from_yaw(yaw):
    c, s = math.cos(yaw), math.sin(yaw)
    return [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]


def yaw_of(r):
    return math.atan2(r[1][0], r[0][0])


def turn_between(a, b):
    """Vertical part of the rotation vector of b * a^-1."""
    d = [[sum(b[i][k] * a[j][k] for k in range(3)) for j in range(3)] for i in range(3)]
    vee = (d[2][1] - d[1][2], d[0][2] - d[2][0], d[1][0] - d[0][1])
    twice_sin = math.sqrt(sum(v * v for v in vee))
    angle = math.atan2(twice_sin / 2, (d[0][0] + d[1][1] + d[2][2] - 1) / 2)
    return vee[2] / 2 if twice_sin < 1e-9 else angle * vee[2] / twice_sin


# ------------------------------------------------------------------------------------ formats


def read_text(data, layout, rate):
    samples = []
    lines = data.decode("ascii").split("\n")
    for line in lines[:-1]:  # What has no end of line may be cut.
        line = line.strip()
        if not line or line.startswith("#") or line.startswith("time"):
            continue
        fields = line.split(",") if "," in line else line.split()
        n = [float(field) for field in fields]
        if layout is None:
            layout = "euroc" if "," in line else {8: "tum", 12: "kitti"}[len(n)]
        if layout == "euroc":
            velocity = ("world", n[8:11], 0.0) if len(n) >= 11 else None
            rotation = from_quaternion(n[4], n[5], n[6], n[7])
            samples.append(Sample(int(fields[0]), n[1:4], rotation, velocity))
        elif layout == "tum":
            rotation = from_quaternion(n[7], n[4], n[5], n[6])
            samples.append(Sample(math.floor(n[0] * 1e9 + 0.5), n[1:4], rotation, None))
        else:
            # Camera axes right, down, forward; the map's are forward, left, up.
            m = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
            r = [n[0:3], n[4:7], n[8:11]]
            mr = [[sum(m[i][k] * r[k][j] for k in range(3)) for j in range(3)] for i in range(3)]
            r = [[sum(mr[i][k] * m[j][k] for k in range(3)) for j in range(3)] for i in range(3)]
            t = [n[3], n[7], n[11]]
            position = [sum(m[i][k] * t[k] for k in range(3)) for i in range(3)]
            ns = math.floor(len(samples) / rate * 1e9 + 0.5)
            samples.append(Sample(ns, position, r, None))
    return samples, "course" if layout == "euroc" else "heading"


def crc_x25(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return crc


def read_tlog(data, topic, origin):
    fixes = {33: {}, 32: {}}
    boots, kinds = {}, {}
    i = 0
    while i < len(data):
        stamp_us = int.from_bytes(data[i : i + 8], "big")
        i += 8
        length = data[i + 1]
        if data[i] == 0xFE:
            head, tail = 6, 2
            speaker, ident = (data[i + 3], data[i + 4]), data[i + 5]
        elif data[i] == 0xFD:
            head, tail = 10, 15 if data[i + 2] & 1 else 2
            speaker = (data[i + 5], data[i + 6])
            ident = int.from_bytes(data[i + 7 : i + 10], "little")
        else:
            sys.exit(f"no frame at byte {i}")
        frame = data[i : i + head + length]
        crc = int.from_bytes(data[i + head + length : i + head + length + 2], "little")
        i += head + length + tail
        # CRC_EXTRA of the message definitions.
        extra = {0: 50, 32: 185, 33: 104}.get(ident)
        if extra is None or crc != crc_x25(frame[1:] + bytes([extra])):
            continue
        payload = frame[head:].ljust(28, b"\0")
        if ident == 0:
            kinds[speaker] = payload[4]
            continue
        boot_ms = int.from_bytes(payload[:4], "little")
        start = stamp_us - boot_ms * 1000
        first, last = boots.get(speaker, (start, boot_ms))
        if last - boot_ms > 10_000:
            first, last = start, boot_ms
        boots[speaker] = (first, max(last, boot_ms))
        ns = (first + boot_ms * 1000) * 1000
        if ident == 33:
            _, lat, lon, _, up, vn, ve, vd, hdg = struct.unpack("<IiiiihhhH", payload[:28])
            rotation = None if hdg == 65535 else from_yaw(math.radians(90 - hdg / 100))
            velocity = ("world", [ve / 100, vn / 100, -vd / 100], 0.0)
            fix = ([lat / 1e7, lon / 1e7, up / 1000], ns, rotation, velocity)
        else:
            _, north, east, down, vn, ve, vd = struct.unpack("<I6f", payload[:28])
            fix = ([east, north, -down], ns, None, ("world", [ve, vn, -vd], 0.0))
        fixes[ident].setdefault(speaker, []).append(fix)
    wanted = {"GLOBAL_POSITION_INT": [33], "LOCAL_POSITION_NED": [32], None: [33, 32]}[topic]
    for ident in wanted:
        if fixes[ident]:
            break
    speaker = max(fixes[ident], key=lambda who: (len(fixes[ident][who]), -who[0], -who[1]))
    samples = []
    for position, ns, rotation, velocity in fixes[ident][speaker]:
        if ident == 33:
            lat0, lon0 = origin or fixes[ident][speaker][0][0][:2]
            east = math.radians(position[1] - lon0) * math.cos(math.radians(lat0)) * EARTH_M
            north = math.radians(position[0] - lat0) * EARTH_M
            position = [east, north, position[2]]
        samples.append(Sample(ns, position, rotation, velocity))
    # Rovers and boats go where they head.
    return samples, "heading" if kinds.get(speaker) in (10, 11) else "course"


def mcap_records(data):
    i = 0
    while i < len(data):
        (length,) = struct.unpack_from("<Q", data, i + 1)
        yield data[i], data[i + 9 : i + 9 + length]
        i += 9 + length


def mcap_text(data, i):
    (length,) = struct.unpack_from("<I", data, i)
    return data[i + 4 : i + 4 + length].decode(), i + 4 + length


class Message:
    """Fields of a CDR message, aligned from behind its header of four bytes."""

    def __init__(self, data):
        self.order = {0: ">", 1: "<"}[data[1]]
        self.data, self.i = data[4:], 0

    def take(self, kind, count=1):
        size = struct.calcsize(kind)
        self.i += -self.i % size
        values = struct.unpack_from(self.order + kind * count, self.data, self.i)
        self.i += size * count
        return values

    def text(self):
        (length,) = self.take("I")
        self.i += length
        return self.data[self.i - length : self.i - 1].decode()


def read_mcap(data, topic):
    schemas, topics = {}, {}
    names = {"Odometry": 0, "TwistStamped": 1, "Twist": 2}

    def walk(records):
        for op, body in records:
            if op == 3:
                (ident,) = struct.unpack_from("<H", body)
                schemas[ident] = mcap_text(body, 2)[0]
            elif op == 4:
                ident, schema = struct.unpack_from("<HH", body)
                name, i = mcap_text(body, 4)
                kind = names.get(schemas.get(schema, "").split("/")[-1])
                topics.setdefault(ident, (name, kind, []))
            elif op == 5:
                ident, _, logged, _ = struct.unpack_from("<HIQQ", body)
                name, kind, messages = topics[ident]
                if kind is not None:
                    messages.append((logged, body[22:]))
            elif op == 6:
                packing, i = mcap_text(body, 28)
                packed = body[i + 8 :]
                if packing == "zstd":
                    done = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True)
                    packed = done.stdout
                elif packing:
                    sys.exit(f"chunks packed with {packing} are not read here")
                walk(mcap_records(packed))

    walk(mcap_records(data[8:-8]))

    def parse(kind, logged, body):
        message, ns, position, rotation = Message(body), 0, None, None
        if kind < 2:
            (sec,), (nsec,) = message.take("i"), message.take("I")
            ns = sec * 10**9 + nsec
            message.text()
        if kind == 0:
            message.text()
            position = list(message.take("d", 3))
            x, y, z, w = message.take("d", 4)
            rotation = from_quaternion(w, x, y, z)
            message.take("d", 36)
        linear = list(message.take("d", 3))
        turn = message.take("d", 3)[2]
        return logged, Sample(ns, position, rotation, ("body", linear, turn))

    motion = [(n, k, [parse(k, *m) for m in ms]) for n, k, ms in topics.values() if k is not None]
    motion.sort(key=lambda t: (not t[2], t[1], -len(t[2])))
    chosen = next(t for t in motion if topic is None or t[0] == topic)
    if all(sample.ns == 0 for _, sample in chosen[2]):
        for logged, sample in chosen[2]:
            sample.ns = logged
    odometry = [t for t in motion if t[1] == 0 and t is not chosen]
    if chosen[1] != 0 and odometry:
        poses = sorted(odometry[0][2], key=lambda pose: pose[0])
        for logged, sample in chosen[2]:
            before = [pose for pose in poses if pose[0] <= logged]
            if before and logged - before[-1][0] <= 10**9:
                sample.position = before[-1][1].position
                sample.rotation = before[-1][1].rotation
    return [sample for _, sample in chosen[2]], "heading"


def read(args):
    with open(args.log, "rb") as file:
        data = file.read()
    is_tlog = data[8:9] in (b"\xfe", b"\xfd") and data[0] == 0
    if data[:5] == b"\x89MCAP":
        samples, motion = read_mcap(data, args.topic)
    elif is_tlog:
        samples, motion = read_tlog(data, args.topic, args.origin)
    else:
        samples, motion = read_text(data, args.format, args.rate)

    def believable(sample):
        numbers = [(sample.position or [0.0], 1e7)]
        if sample.velocity:
            numbers.append((sample.velocity[1] + [sample.velocity[2]], 1e3))
        return all(abs(n) <= most for ns, most in numbers for n in ns)

    samples = sorted(filter(believable, samples), key=lambda sample: sample.ns)
    once = []
    for sample in samples:
        if not once or sample.ns != once[-1].ns:
            once.append(sample)
    return once, args.motion or motion, is_tlog


# ----------------------------------------------------------------------------------- timeline


def window(times, i, half):
    a = i
    while a > 0 and times[a - 1] >= times[i] - half:
        a -= 1
    b = i
    while b + 1 < len(times) and times[b + 1] <= times[i] + half:
        b += 1
    return (max(i - 1, 0), min(i + 1, len(times) - 1)) if a == b else (a, b)


def moments(samples, motion, window_s, gap_s):
    """Dictionaries: t, hold, first, pose (x, y, yaw), v, w, a, alpha."""
    half, gap = round(window_s / 2 * 1e9), round(gap_s * 1e9)
    pieces = []
    for sample in samples:
        if not pieces or sample.ns - pieces[-1][-1].ns > gap:
            pieces.append([])
        pieces[-1].append(sample)
    result, gaps = [], []
    start = samples[0].ns
    for piece in pieces:
        times = [sample.ns for sample in piece]
        if result:
            gaps.append([result[-1]["t"], (times[0] - start) / 1e9])
        base = len(result)
        for i, sample in enumerate(piece):
            a, b = window(times, i, half)
            span = (times[b] - times[a]) / 1e9
            r = sample.rotation
            heading = yaw_of(r) if r else None
            kind, v, w = sample.velocity or ("world", [0.0] * 3, None)
            if sample.velocity is None and span > 0:
                v = [(q - p) / span for p, q in zip(piece[a].position, piece[b].position)]
            if kind != "body":
                both = piece[a].rotation and piece[b].rotation and span > 0
                w = turn_between(piece[a].rotation, piece[b].rotation) / span if both else 0.0
            speed = math.hypot(v[0], v[1])
            direction = math.atan2(v[1], v[0])
            if kind == "body":
                course = None if heading is None else heading + direction
                along = v[0]
            else:
                course = direction
                along = speed
                if heading is not None:
                    along = v[0] * math.cos(heading) + v[1] * math.sin(heading)
            if motion == "course":
                fast = speed > COURSE_MPS and course is not None
                yaw, linear = course if fast else heading, speed
            else:
                yaw, linear = course if heading is None else heading, along
            pose = sample.position and (*sample.position[:2], yaw or 0.0)
            z, climb = sample.position and sample.position[2], 0.0
            if kind == "world":
                climb = v[2]
            elif piece[a].position and piece[b].position and span > 0:
                climb = (piece[b].position[2] - piece[a].position[2]) / span
            hold = (times[i + 1] - times[i]) / 1e9 if i + 1 < len(times) else 0.0
            t = (times[i] - start) / 1e9
            here = dict(t=t, hold=hold, first=i == 0, pose=pose, v=linear, w=w)
            result.append(dict(here, z=z, climb=climb))
        for i in range(len(piece)):
            a, b = window(times, i, half)
            span = (times[b] - times[a]) / 1e9
            one, other, here = result[base + a], result[base + b], result[base + i]
            here["a"] = (other["v"] - one["v"]) / span if span else None
            here["alpha"] = (other["w"] - one["w"]) / span if span else None
    return result, gaps


# -------------------------------------------------------------------------------------- zones


def edge_distance(polygon, x, y):
    """To the edge, negative inside."""
    best, winding = math.inf, 0
    for p, q in zip(polygon, polygon[1:] + polygon[:1]):
        ex, ey, px, py = q[0] - p[0], q[1] - p[1], x - p[0], y - p[1]
        s = min(1.0, max(0.0, (px * ex + py * ey) / (ex * ex + ey * ey)))
        best = min(best, math.hypot(px - s * ex, py - s * ey))
        side = ex * py - ey * px
        if p[1] <= y < q[1] and side > 0:
            winding += 1
        elif q[1] <= y < p[1] and side < 0:
            winding -= 1
    return -best if winding else best


def stopping_path(m, policy, motion, discs):
    """(x, y, yaw, speed) of each look; between two no disc goes further than LOOK_M."""
    limits, flight = policy["limits"], flight_of(policy)
    v, w = m["v"], 0.0 if motion == "course" or flight else m["w"]
    x, y, yaw = m["pose"]
    speed, hold = abs(v), limits["reaction_ms"] / 1000.0
    if flight:
        lean = 9.80665 * math.tan(flight["max_tilt_rad"])
        brake = speed / min(limits["max_decel_mps2"], lean)
    else:
        brake = max(
            abs(v) / limits["max_decel_mps2"], abs(w) / limits["max_angular_accel_radps2"]
        )
    whole = hold + brake / 2.0
    way = whole * max(math.hypot(v - w * dy, w * dx) for dx, dy, _ in discs)
    if way <= ROUNDING:
        return [(x, y, yaw, speed)]
    looks = min(max(math.ceil(way / LOOK_M), 1), MOST_LOOKS)
    path = []
    for k in range(looks + 1):
        t = whole * k / looks
        if abs(w) * t < 1e-7:
            place = (x + v * t * math.cos(yaw), y + v * t * math.sin(yaw))
        else:
            r = v / w
            place = (
                x + r * (math.sin(yaw + w * t) - math.sin(yaw)),
                y - r * (math.cos(yaw + w * t) - math.cos(yaw)),
            )
        braked = max(t - hold, 0.0)
        left = 1.0 - (2.0 * braked / brake if brake else 0.0)
        path.append((*place, yaw + w * t, speed * math.sqrt(max(left, 0.0))))
    return path


def covers(discs, footprint):
    """The discs contain every point of the outline, each with the margin around it."""
    corners = [(c["x"], c["y"]) for c in footprint["outline"]]
    more = footprint["margin_m"] + SLACK_M
    middle = [sum(c[i] for c in corners) / len(corners) for i in (0, 1)]
    for (px, py), (qx, qy) in zip(corners, corners[1:] + corners[:1]):
        for i in range(101):
            ex, ey = px + (qx - px) * i / 100, py + (qy - py) * i / 100
            for k in range(21):
                x, y = (e + (o - e) * k / 20 for e, o in zip((ex, ey), middle))
                if all(math.hypot(x - dx, y - dy) > r - more + 1e-9 for dx, dy, r in discs):
                    return False
    return True


# --------------------------------------------------------------------------------- conditions

WEEK_MS = 7 * 86_400_000
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def flight_of(policy):
    vehicle = policy.get("vehicle", {})
    return vehicle if vehicle.get("type") == "multirotor" else None


def minutes(text):
    hours, mins = text.split(":")
    return int(hours) * 60 + int(mins)


def open_at(windows, ms):
    """Some window holds at this millisecond of a week."""
    day, rest = divmod(ms % WEEK_MS, 86_400_000)
    for window in windows:
        if DAYS[day] in window["days"]:
            if minutes(window["from"]) * 60_000 <= rest < minutes(window["to"]) * 60_000:
                return True
    return False


def horizon_ms(policy):
    """The longest until a robot that is braked comes to rest."""
    limits, flight = policy["limits"], flight_of(policy)
    speed = max(limits["max_linear_mps"], limits["max_reverse_mps"])
    decel, upright = limits["max_decel_mps2"], 0.0
    if flight:
        decel = min(decel, 9.8 * math.tan(flight["max_tilt_rad"]))
        climb = max(flight["max_climb_mps"], flight["max_descent_mps"])
        upright = climb / flight["max_vertical_accel_mps2"]
    turn = limits["max_angular_radps"] / limits["max_angular_accel_radps2"]
    rest = max(speed / decel, turn, upright)
    return math.ceil(500 + limits["reaction_ms"] + rest * 1000)


def in_time(zone, permits, ms, horizon):
    windows = zone.get("windows")
    if not windows:
        return True
    if ms is None:
        return not permits
    # What holds changes at whole minutes only.
    looks = {ms, ms + horizon} | {
        at for at in range(ms // 60_000 * 60_000, ms + horizon + 1, 60_000) if at >= ms
    }
    seen = [open_at(windows, at) for at in looks]
    return all(seen) if permits else any(seen)


def in_height(zone, permits, heights):
    band = zone.get("altitude")
    if not band:
        return True
    if heights is None or band["reference"] != "above_takeoff":
        return not permits
    low, high = heights
    least, most = band.get("min_m", -math.inf), band.get("max_m", math.inf)
    return least <= low and high <= most if permits else not (high < least or low > most)


def heights_of(policy, m, takeoff):
    """Which heights it has until it would be at rest."""
    flight = flight_of(policy)
    if not flight or m["z"] is None:
        return None
    climb, way = m["climb"], 0.0
    # It goes on as it did until a brake takes effect.
    height = m["z"] - takeoff + climb * policy["limits"]["reaction_ms"] / 1000.0
    if climb:
        brake = abs(climb) / (2 * flight["max_vertical_accel_mps2"])
        way = math.copysign(abs(climb) * brake + SLACK_M, climb)
    return height + min(way, 0.0), height + max(way, 0.0)


# ------------------------------------------------------------------------------------ verdict


def rules_of(policy, motion, discs, began, takeoff):
    """(rule, way, zone, reading); a reading gives None or (excess, value, limit, zone)."""
    limits = policy["limits"]
    horizon = horizon_ms(policy)
    zones = [
        (z["id"], z["rule"], [(c["x"], c["y"]) for c in z["polygon"]], z)
        for z in policy.get("zones", [])
    ]

    def wall_ms(m):
        # 1970-01-01 was a Thursday.
        return None if began is None else began + math.floor(m["t"] * 1000) + 3 * 86_400_000

    def in_force(m, zone, permits):
        heights = heights_of(policy, m, takeoff)
        return in_time(zone, permits, wall_ms(m), horizon) and in_height(zone, permits, heights)

    def middles(x, y, yaw):
        c, s = math.cos(yaw), math.sin(yaw)
        return [(x + dx * c - dy * s, y + dx * s + dy * c, r) for dx, dy, r in discs]

    whole = max(math.hypot(dx, dy) + r for dx, dy, r in discs)

    def outside(polygon, place, enough):
        """Exact where it is less than `enough`; the circle around all discs is asked first."""
        least = edge_distance(polygon, *place[:2]) - whole
        if least >= enough:
            return least
        return min(edge_distance(polygon, x, y) - r for x, y, r in middles(*place[:3]))

    def inside_by(polygon, place):
        """(depth, clearance): what sticks out in sum, and the least clearance."""
        clear = [-edge_distance(polygon, x, y) - r for x, y, r in middles(*place[:3])]
        return sum(max(-c, 0.0) for c in clear), min(clear)

    def over(value, limit):
        return (value - limit, value, limit, None)

    def slows(m):
        return m["a"] * m["v"] < 0.0

    def path(m):
        if "path" not in m:
            m["path"] = stopping_path(m, policy, motion, discs) if m["pose"] and zones else []
        return m["path"]

    def linear(m):
        return over(m["v"], limits["max_linear_mps"]) if m["v"] >= 0 else None

    def reverse(m):
        return over(-m["v"], limits["max_reverse_mps"]) if m["v"] < 0 else None

    def angular(m):
        return over(abs(m["w"]), limits["max_angular_radps"])

    def faster(m):
        if m["a"] is not None and not slows(m):
            return over(abs(m["a"]), limits["max_linear_accel_mps2"])

    def braking(m):
        if m["a"] is not None and slows(m):
            return over(abs(m["a"]), limits["max_decel_mps2"])

    def turning(m):
        if m["alpha"] is not None:
            return over(abs(m["alpha"]), limits["max_angular_accel_radps2"])

    yield "speed.linear", "forward", None, linear
    yield "speed.linear", "reverse", None, reverse
    yield "speed.angular", None, None, angular
    yield "accel.linear", "speeding_up", None, faster
    yield "accel.linear", "braking", None, braking
    yield "accel.angular", None, None, turning

    inside = [(name, polygon, z) for name, rule, polygon, z in zones if rule["type"] == "keep_in"]
    conditional = any("altitude" in z or "windows" in z for _, _, z in inside)

    def closed(m):
        if m["pose"] and not any(in_force(m, z, True) for _, _, z in inside):
            return over(abs(m["v"]), 0.0)

    def keep_in(m):
        counts = [(name, polygon) for name, polygon, z in inside if in_force(m, z, True)]
        places, worst = [], math.inf
        for place in path(m) if counts else []:
            if any(-edge_distance(p, *place[:2]) - whole >= worst for _, p in counts):
                continue
            clear = [(inside_by(polygon, place), name) for name, polygon in counts]
            (_, clearance), name = min(clear, key=lambda c: (c[0][0], -c[0][1]))
            places.append((clearance, name))
            worst = min(worst, clearance)
        if places:
            clearance, name = min(places, key=lambda c: c[0])
            return (-clearance, clearance, 0.0, name)

    said = False
    for name, rule, polygon, z in zones:
        if rule["type"] == "keep_in" and not said:
            said = True
            if conditional:
                yield "zone.closed", None, None, closed
            yield "zone.keep_in", None, None, keep_in
        elif rule["type"] == "keep_out":

            def keep_out(m, name=name, polygon=polygon, z=z):
                least = math.inf
                for place in path(m) if in_force(m, z, False) else []:
                    least = min(least, outside(polygon, place, least))
                if least < math.inf:
                    return (-least, least, 0.0, name)

            yield "zone.keep_out", None, name, keep_out
        elif rule["type"] == "speed":

            def slow(m, name=name, polygon=polygon, z=z, limit=rule["max_linear_mps"]):
                places = path(m) if in_force(m, z, False) else []
                speeds = [place[3] for place in places if outside(polygon, place, 1e-9) <= 0.0]
                if speeds:
                    return (max(speeds) - limit, max(speeds), limit, name)

            yield "zone.speed", None, name, slow


def intervals_of(line, reading, join):
    intervals, current, before = [], None, None
    most = None
    for m in line:
        if m["first"]:
            current = None
        r = reading(m)
        if r is None:
            continue
        if most is None or r[0] > most[0]:
            most = r
        if r[0] <= ROUNDING:
            continue
        if current is None or m["t"] - current["to_s"] > join + ROUNDING:
            current = dict(from_s=m["t"], over_s=0.0, excess=-math.inf)
            intervals.append(current)
        current["to_s"] = m["t"] + m["hold"]
        current["over_s"] += m["hold"]
        if r[0] > current["excess"]:
            current.update(excess=r[0], value=r[1], limit=r[2], zone=r[3], t_s=m["t"])
    return intervals, most and most[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log")
    parser.add_argument("--policy", required=True)
    parser.add_argument("--format", choices=["euroc", "tum", "kitti"])
    parser.add_argument("--topic")
    parser.add_argument("--motion", choices=["heading", "course"])
    parser.add_argument("--window", type=float, default=0.3)
    parser.add_argument("--join", type=float, default=0.5)
    parser.add_argument("--gap", type=float, default=1.0)
    parser.add_argument("--origin", type=lambda s: [float(part) for part in s.split(",")])
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--start", type=lambda text: datetime.fromisoformat(text))
    parser.add_argument("--takeoff", type=float)
    parser.add_argument("--discs", required=True, help="the answer of `policy backtest --json`")
    args = parser.parse_args()
    with open(args.policy, "rb") as file:
        policy = tomllib.load(file) if args.policy.endswith(".toml") else json.load(file)
    samples, motion, is_tlog = read(args)
    line, gaps = moments(samples, motion, args.window, args.gap)
    rules, found = [], []
    with open(args.discs, "rb") as file:
        told = json.load(file)["discs"]
    discs = [(disc["x"], disc["y"], disc["radius_m"]) for disc in told]
    if not covers(discs, policy["footprint"]):
        sys.exit("the discs do not cover the outline with its margin")
    start = samples[0].ns
    began = start // 10**6 if 10**18 <= start < 4_070_908_800 * 10**9 else None
    if args.start:
        began = round(args.start.timestamp() * 1000)
    takeoff = args.takeoff
    if takeoff is None:
        heights = [sample.position[2] for sample in samples if sample.position]
        takeoff = 0.0 if is_tlog or not heights else heights[0]
    for rule, way, zone, reading in rules_of(policy, motion, discs, began, takeoff):
        intervals, most = intervals_of(line, reading, args.join)
        over = sum(interval["over_s"] for interval in intervals)
        rules.append(
            dict(rule=rule, way=way, zone=zone, intervals=len(intervals), over_s=over, most=most)
        )
        found += [dict(interval, rule=rule, way=way) for interval in intervals]
    found.sort(key=lambda interval: interval["from_s"])
    answer = dict(
        samples=len(samples), duration_s=line[-1]["t"], motion=motion, gaps=gaps, rules=rules
    )
    json.dump(dict(answer, intervals=found), sys.stdout)


if __name__ == "__main__":
    main()
