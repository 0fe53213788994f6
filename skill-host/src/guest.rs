//! The two worlds that a component may be of: `skill`, for what moves about, and `arm-skill`. The
//! rest of the host does not care which.

use crate::session::Guest;
use crate::world::{self, ArmSkill, ArmSkillPre, Request, Skill, SkillPre, Status, wit};
use nooterra_protocol::observation::Observation;
use nooterra_protocol::time::MonoNanos;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Type};
use wasmtime::{Engine, Store};

/// A component that was compiled and linked as what it is.
pub(crate) enum Linked {
    Arm(ArmSkillPre<Guest>),
    Base(SkillPre<Guest>),
}

impl Linked {
    pub(crate) fn new(pre: InstancePre<Guest>, is_arm: bool) -> wasmtime::Result<Self> {
        if is_arm {
            ArmSkillPre::new(pre).map(Self::Arm)
        } else {
            SkillPre::new(pre).map(Self::Base)
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        match self {
            Self::Arm(pre) => pre.engine(),
            Self::Base(pre) => pre.engine(),
        }
    }

    pub(crate) fn component(&self) -> &Component {
        match self {
            Self::Arm(pre) => pre.instance_pre().component(),
            Self::Base(pre) => pre.instance_pre().component(),
        }
    }

    pub(crate) fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Live> {
        Ok(match self {
            Self::Arm(pre) => Live::Arm(pre.instantiate(store)?, world::unseen_by_arm()),
            Self::Base(pre) => Live::Base(pre.instantiate(store)?, world::unseen()),
        })
    }
}

/// An instance of either, with what it was last shown, whose buffers serve the next step too.
pub(crate) enum Live {
    Arm(ArmSkill, wit::ArmObservation),
    Base(Skill, wit::Observation),
}

impl Live {
    pub(crate) fn init(
        &self,
        store: &mut Store<Guest>,
        action: &str,
        params: &[(String, wit::Param)],
    ) -> wasmtime::Result<Result<(), String>> {
        match self {
            Self::Arm(skill, _) => skill.call_init(store, action, params),
            Self::Base(skill, _) => skill.call_init(store, action, params),
        }
    }

    pub(crate) fn resume(
        &self,
        store: &mut Store<Guest>,
        state: &[u8],
    ) -> wasmtime::Result<Result<(), String>> {
        match self {
            Self::Arm(skill, _) => skill.call_resume(store, state),
            Self::Base(skill, _) => skill.call_resume(store, state),
        }
    }

    /// Whether what is seen has what it works with: an arm's skill has nothing to do elsewhere.
    pub(crate) const fn fits(&self, seen: &Observation) -> bool {
        match self {
            Self::Arm(..) => seen.joints.is_some(),
            Self::Base(..) => true,
        }
    }

    /// What the next step is shown.
    pub(crate) fn observe(&mut self, at: MonoNanos, seen: &Observation) {
        match self {
            Self::Arm(_, into) => world::observe_arm(into, at, seen),
            Self::Base(_, into) => world::observe(into, at, seen),
        }
    }

    pub(crate) fn step(&self, store: &mut Store<Guest>) -> wasmtime::Result<(Request, Status)> {
        match self {
            Self::Arm(skill, seen) => {
                let (request, status) = skill.call_step(store, seen)?;
                Ok((request.into(), status.into()))
            }
            Self::Base(skill, seen) => {
                let (request, status) = skill.call_step(store, seen)?;
                Ok((request.into(), status.into()))
            }
        }
    }

    pub(crate) fn suspend(&self, store: &mut Store<Guest>) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::Arm(skill, _) => skill.call_suspend(store),
            Self::Base(skill, _) => skill.call_suspend(store),
        }
    }
}

/// Whether a component is of the world `arm-skill`: its `step` sees joints. `None` for what is of
/// neither, about which linking says more.
pub(crate) fn is_for_arm(component: &Component, engine: &Engine) -> Option<bool> {
    let of = component.component_type();
    let ComponentItem::ComponentFunc(step) = of.get_export(engine, "step")?.ty else {
        return None;
    };
    let (_, Type::Record(seen)) = step.params().next()? else { return None };
    let has = |name: &str| seen.fields().any(|field| field.name == name);
    match (has("joints"), has("twist")) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    }
}
