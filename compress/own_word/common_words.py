"""English words of everyday speech: what a spotter hears all day, and near misses are made of."""

_TEXT = """
a about above across actor after again against ago air all almost along already also always am
among an and animal another answer any anything apple are area arm around as ask at away baby
back bag ball bank bath be beach beautiful because bed been before begin behind believe below
best better between big bird black blue board boat body book both bottle bottom box boy bread
break breakfast bridge bring brother brown build building business busy but butter buy by cake
call came camera can car card care carry cat catch center century certain chair change cheap
check chicken child children choose church circle city clean clear close clothes cloud coffee
cold color come common company computer cook cool corner could country couple course cover cross
cup cut dance danger dark daughter day dead deep did different dinner doctor does dog dollar
done door down draw dream dress drink drive drop dry during each early earth east easy eat edge
egg eight either else end engine enough enter even evening ever every example eye face fact fall
family famous far farm fast father feel feet fell few field fight figure fill final find fine
finger finish fire first fish five floor flower fly follow food foot for force forest forget
form forward found four fresh friend from front fruit full game garden gave general get girl
give glass go gold gone good got great green ground group grow guess half hand happen happy hard
has hat have he head hear heart heat heavy held hello help her here high hill him his history
hit hold home hope horse hospital hot hotel hour house how hundred hungry hurry husband ice idea
if important in inside instead interest into iron is island it job join jump just keep key kind
king kitchen knee knife know lady lake land language large last late later laugh lead learn
least leave left leg less let letter level life light like line list listen little live long
look lose lot loud love low machine made make man many map market matter may maybe me mean meat
meet member men middle might mile milk mind minute miss modern moment money month moon more
morning most mother mountain mouth move much music must my name nation near neck need neighbor
never new news next night nine no nobody noise north nose not note nothing notice now number
ocean of off offer office often oil old on once one only open or orange order other our out
outside over own page paint pair paper parent park part party pass past pay people perhaps
person phone picture piece place plan plant play please pocket point poor possible power present
pretty price problem public pull push put quarter queen question quick quiet quite race radio
rain raise ran reach read ready real really reason red remember rest rich ride right ring river
road rock room round rule run sad safe said salt same sand sat saw say school science sea seat
second see seem sell send sentence seven several shall shape she ship shirt shoe shop short
should shoulder show shower side silver simple since sing sister sit six size skin sky sleep
slow small smile snow so soap soft some someone song soon sound south space speak special spend
spoon spring stand star start state station stay step still stone stop store story straight
strange street strong student study such sudden sugar summer sun supper sure surface sweet swim
table take talk tall taste tea teacher team tell ten test than thank that the their them then
there these they thing think third this those though thought thousand three through ticket time
tired to today together told tomorrow too took top total touch toward town trade train travel
tree trouble true try turn twelve twenty two uncle under until up upon us use usual valley value
very village visit voice wait walk wall want war warm was wash watch water way we wear weather
week weight well went were west what wheel when where which while white who whole why wide wife
wild will wind window wine winter wish with without woman wonder wood word work world would
write wrong yard year yellow yes yesterday yet you young your
"""

COMMON_WORDS = tuple(_TEXT.split())
"""All different, in the order of the alphabet."""
