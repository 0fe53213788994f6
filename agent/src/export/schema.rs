//! The topics of an export, and their message definitions.
//!
//! Everything is ROS 2: definitions as `ros2msg`, messages as `cdr`. Foxglove decodes any such
//! message by its definition, and so does Rerun; JSON with a JSON schema would be drawn by
//! Foxglove only. What ROS has a name for is called so, and is drawn without being told how;
//! the rest is `nooterra_msgs`, defined in the file itself.

/// How all definitions are written.
pub(super) const ENCODING: &str = "ros2msg";

/// How all messages are.
pub(super) const MESSAGE_ENCODING: &str = "cdr";

/// A topic.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Topic {
    /// What the gate let through.
    Allowed,
    /// What the source in charge wished.
    Asked,
    Facts,
    Incidents,
    /// As [`Self::Allowed`], of an arm.
    JointsAllowed,
    /// As [`Self::Asked`], of an arm.
    JointsAsked,
    /// What an arm measured of its joints.
    JointStates,
    Log,
    Odometry,
    Records,
    Samples,
    Stops,
    Transforms,
    Verdicts,
}

impl Topic {
    pub(super) const ALL: [Self; 14] = [
        Self::Allowed,
        Self::Asked,
        Self::Facts,
        Self::Incidents,
        Self::JointsAllowed,
        Self::JointsAsked,
        Self::JointStates,
        Self::Log,
        Self::Odometry,
        Self::Records,
        Self::Samples,
        Self::Stops,
        Self::Transforms,
        Self::Verdicts,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "/cmd_vel",
            Self::Asked => "/cmd_vel_asked",
            Self::Facts => "/blackbox/facts",
            Self::Incidents => "/blackbox/incidents",
            Self::JointsAllowed => "/joint_commands",
            Self::JointsAsked => "/joint_commands_asked",
            Self::JointStates => "/joint_states",
            Self::Log => "/rosout",
            Self::Odometry => "/odom",
            Self::Records => "/blackbox/records",
            Self::Samples => "/blackbox/samples",
            Self::Stops => "/blackbox/stops",
            Self::Transforms => "/tf",
            Self::Verdicts => "/blackbox/verdicts",
        }
    }

    /// The name of its message's definition.
    pub(super) const fn schema(self) -> &'static str {
        match self {
            Self::Allowed | Self::Asked => "geometry_msgs/msg/TwistStamped",
            Self::Facts | Self::Incidents => "nooterra_msgs/msg/Fact",
            Self::JointsAllowed | Self::JointsAsked | Self::JointStates => {
                "sensor_msgs/msg/JointState"
            }
            Self::Log => "rcl_interfaces/msg/Log",
            Self::Odometry => "nav_msgs/msg/Odometry",
            Self::Records => "nooterra_msgs/msg/Record",
            Self::Samples => "nooterra_msgs/msg/Sample",
            Self::Stops => "nooterra_msgs/msg/Stop",
            Self::Transforms => "tf2_msgs/msg/TFMessage",
            Self::Verdicts => "nooterra_msgs/msg/Verdict",
        }
    }

    /// The definition, with those that it needs behind it.
    pub(super) fn definition(self) -> String {
        let (own, needs): (&str, &[&str]) = match self {
            Self::Allowed | Self::Asked => {
                ("std_msgs/Header header\nTwist twist\n", &[HEADER, TIME, TWIST, VECTOR])
            }
            Self::Facts | Self::Incidents => (FACT, &[HEADER, TIME]),
            Self::JointsAllowed | Self::JointsAsked | Self::JointStates => {
                (JOINTS, &[HEADER, TIME])
            }
            Self::Log => (LOG, &[TIME]),
            Self::Odometry => (
                ODOMETRY,
                &[
                    HEADER,
                    TIME,
                    "geometry_msgs/PoseWithCovariance\nPose pose\nfloat64[36] covariance\n",
                    "geometry_msgs/Pose\nPoint position\nQuaternion orientation\n",
                    "geometry_msgs/Point\nfloat64 x\nfloat64 y\nfloat64 z\n",
                    QUATERNION,
                    "geometry_msgs/TwistWithCovariance\nTwist twist\nfloat64[36] covariance\n",
                    TWIST,
                    VECTOR,
                ],
            ),
            Self::Records => (RECORD, &[HEADER, TIME]),
            Self::Samples => (SAMPLE, &[HEADER, TIME]),
            Self::Stops => (STOP, &[HEADER, TIME]),
            Self::Transforms => (
                "geometry_msgs/TransformStamped[] transforms\n",
                &[
                    "geometry_msgs/TransformStamped\nstd_msgs/Header header\n\
                     string child_frame_id\nTransform transform\n",
                    HEADER,
                    TIME,
                    "geometry_msgs/Transform\nVector3 translation\nQuaternion rotation\n",
                    VECTOR,
                    QUATERNION,
                ],
            ),
            Self::Verdicts => (VERDICT, &[HEADER, TIME]),
        };
        let rule = "=".repeat(80);
        needs.iter().fold(own.to_owned(), |text, need| format!("{text}{rule}\nMSG: {need}"))
    }
}

const HEADER: &str = "std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n";
const QUATERNION: &str = "geometry_msgs/Quaternion\nfloat64 x\nfloat64 y\nfloat64 z\nfloat64 w\n";
const TIME: &str = "builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n";
const TWIST: &str = "geometry_msgs/Twist\nVector3 linear\nVector3 angular\n";
const VECTOR: &str = "geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z\n";

const ODOMETRY: &str = "\
std_msgs/Header header
string child_frame_id
geometry_msgs/PoseWithCovariance pose
geometry_msgs/TwistWithCovariance twist
";

/// Sequences that are empty say nothing, as ROS has it.
const JOINTS: &str = "\
std_msgs/Header header
string[] name
float64[] position
float64[] velocity
float64[] effort
";

const LOG: &str = "\
builtin_interfaces/Time stamp
uint8 level
string name
string msg
string file
string function
uint32 line
";

const FACT: &str = "\
std_msgs/Header header
# Sequence number of the record
uint64 seq
# How far the wall clock in the header can be believed: untrusted, network or cloud
string clock_trust
string type
string job
string actor
uint64 actor_seq
# JSON
string payload
";

const RECORD: &str = "\
std_msgs/Header header
# Sequence number of the record
uint64 seq
# How far the wall clock in the header can be believed: untrusted, network or cloud
string clock_trust
uint64 boot
string class
string kind
# JSON
string body
";

const SAMPLE: &str = "\
std_msgs/Header header
# Sequence number of the record
uint64 seq
# How far the wall clock in the header can be believed: untrusted, network or cloud
string clock_trust
# In charge
string source
# The tightest speed limit that held, m/s
float64 limit_mps
# State of charge, 0 to 1; NaN where it is not measured
float64 battery
";

const STOP: &str = "\
std_msgs/Header header
# Sequence number of the record
uint64 seq
# How far the wall clock in the header can be believed: untrusted, network or cloud
string clock_trust
string profile
string reason
";

const VERDICT: &str = "\
std_msgs/Header header
# Sequence number of the record
uint64 seq
# How far the wall clock in the header can be believed: untrusted, network or cloud
string clock_trust
string rule
# began, holds or ended
string phase
# Whose wish it was
string source
string zone
string job
string command
uint64 tick
float64 limit
string limit_unit
# m/s and rad/s; NaN where the wish was no number
float64 asked_forward_mps
float64 asked_turning_radps
float64 allowed_forward_mps
float64 allowed_turning_radps
float64 x
float64 y
float64 yaw
";
